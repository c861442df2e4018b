//! UpdateAcls: gives and takes away actions, of users and groups. The one change that the default container takes.

use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;

use super::{change, check, named, no_such_container};
use crate::{
    containers::Who,
    rpc::{Service, access::Access},
    store::acls::AclChange,
};

/// Changes of one call at the most.
const MOST: usize = 1_000;

pub(super) async fn update_acls(
    service: &Service,
    request: wire::UpdateAclsRequest,
) -> Result<wire::Container, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    access.need_everything()?;
    let id = named(&access, &request.container)?.id;
    if request.changes.len() > MOST {
        return Err(Status::invalid_argument(format!("acls: there are more than {MOST}")));
    }
    let changes = request.changes.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let (_, found) = change(service, &access, id, |store, leader| async move {
        store.acls_change(leader.epoch, id, &changes, wall()).await
    })
    .await?;
    found.ok_or_else(no_such_container)
}

fn read(change: wire::update_acls_request::Change) -> Result<AclChange, Status> {
    let who = match (change.user_id.as_str(), change.group.as_str()) {
        ("", "") => return Err(Status::invalid_argument("acls: user_id or group is missing")),
        (user, "") => Who::user(check::who("user_id", user)?),
        ("", group) => Who::Group(check::who("group", group)?.to_owned()),
        (_, _) => return Err(Status::invalid_argument("acls: give user_id or group, not both")),
    };
    if change.actions.is_empty() {
        return Err(Status::invalid_argument("acls: actions is missing"));
    }
    let actions = change.actions.into_iter().map(check::action).collect::<Result<_, _>>()?;
    Ok(AclChange { who, permit: change.permit, actions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_one_user_or_group_and_words() {
        let change = |user_id: &str, group: &str, actions: &[&str]| {
            read(wire::update_acls_request::Change {
                user_id: user_id.to_owned(),
                group: group.to_owned(),
                permit: true,
                actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            })
        };
        let long = "x".repeat(65);
        for (user, group, actions) in [
            ("", "", vec!["view"]),
            ("alice", "ops", vec!["view"]),
            ("alice", "", vec![]),
            ("alice", "", vec!["view", ""]),
            ("alice", "", vec!["no word"]),
            ("alice", "", vec![long.as_str()]),
            ("al\0ice", "", vec!["view"]),
            ("", "\n", vec!["view"]),
        ] {
            let refused = change(user, group, &actions).unwrap_err();
            assert!(refused.message().starts_with("acls: "), "{refused:?}");
        }
        let good = change("user::okta|alice", "", &["view", "a_word-2"]).unwrap();
        assert_eq!(good.who, Who::User("okta|alice".to_owned()));
        assert_eq!(good.actions, ["view", "a_word-2"]);
        assert_eq!(change("", "CCKM Users", &["view"]).unwrap().who, Who::Group("CCKM Users".to_owned()));
    }
}
