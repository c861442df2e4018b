//! Containers of a site, and callers who may do less than everything.

use keyfleet_proto::estate::v1::{
    Container, CreateContainerRequest, GetContainerRequest, Rights, UpdateAclsRequest,
    containers_client::ContainersClient, update_acls_request::Change,
};
use tonic::{Status, transport::Channel};

use super::site::{Site, TENANT, admin};

pub(crate) const PROD: &str = "222233334444";
pub(crate) const TEST: &str = "333344445555";
/// The Region that containers made here have.
pub(crate) const REGION: &str = "eu-west-1";

pub(crate) const BOB: &str = "local|6c9f2e0a-6f55-4d0c-9d7e-0f8a4c1b2d3e";

pub(crate) fn user(user: &str, groups: &[&str]) -> Option<Rights> {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Some(Rights { user: user.to_owned(), groups, ..Rights::default() })
}

/// A user with nothing but what ACLs give.
pub(crate) fn bob() -> Option<Rights> {
    user(BOB, &[])
}

/// Of a group that the gateway lets run bulk jobs everywhere.
pub(crate) fn bulk() -> Option<Rights> {
    Some(Rights { bulk: true, ..Rights::default() })
}

pub(crate) fn arn(account: &str, region: &str, key: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:key/{key}")
}

pub(crate) fn new_container(name: &str, account: &str) -> CreateContainerRequest {
    CreateContainerRequest {
        tenant: TENANT.to_owned(),
        created_by: "admin".to_owned(),
        name: name.to_owned(),
        account_id: account.to_owned(),
        regions: vec![REGION.to_owned()],
        connection: name.to_owned(),
        rights: admin(),
        ..CreateContainerRequest::default()
    }
}

pub(crate) fn the(container: &str, rights: Option<Rights>) -> GetContainerRequest {
    GetContainerRequest { tenant: TENANT.to_owned(), container: container.to_owned(), rights }
}

impl Site {
    pub(crate) async fn containers(&self) -> ContainersClient<Channel> {
        self.jobs().await;
        self.leader.containers().await.unwrap()
    }

    pub(crate) async fn container(&self, name: &str, account: &str) -> Container {
        self.containers().await.create_container(new_container(name, account)).await.unwrap().into_inner()
    }

    /// Gives or takes away actions of a user.
    pub(crate) async fn acl(
        &self,
        container: &str,
        user: &str,
        permit: bool,
        actions: &[&str],
    ) -> Result<Container, Status> {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        let change = Change { user_id: user.to_owned(), group: String::new(), permit, actions };
        let request = UpdateAclsRequest {
            tenant: TENANT.to_owned(),
            container: container.to_owned(),
            changes: vec![change],
            rights: admin(),
        };
        Ok(self.containers().await.update_acls(request).await?.into_inner())
    }

    pub(crate) async fn permit(&self, container: &str, user: &str, actions: &[&str]) {
        self.acl(container, user, true, actions).await.unwrap();
    }
}
