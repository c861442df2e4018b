//! Containers as gateways make, read and change them, and what an archived or deleted one refuses.

use keyfleet_proto::estate::v1::{
    CreateContainerRequest, CreateSynchronizationRequest, ListContainersRequest, ListSynchronizationsRequest,
    UpdateContainerRequest,
};
use tonic::Code;

use super::{
    estate::{BOB, PROD, REGION, TEST, arn, bob, bulk, new_container, the},
    site::{CALM, STRANGER, Site, TENANT, admin, created, parts, stop},
};

const DEFAULT_ID: &str = "00000000-0000-4000-8000-000000000000";

fn list() -> ListContainersRequest {
    ListContainersRequest { tenant: TENANT.to_owned(), limit: 10, rights: admin(), ..ListContainersRequest::default() }
}

fn rename(container: &str, name: &str) -> UpdateContainerRequest {
    UpdateContainerRequest {
        tenant: TENANT.to_owned(),
        container: container.to_owned(),
        name: Some(name.to_owned()),
        rights: admin(),
        ..UpdateContainerRequest::default()
    }
}

#[tokio::test]
async fn a_container_is_made_read_changed_and_deleted() {
    let site = Site::with(&CALM).await;
    let mut containers = site.containers().await;
    let made = site.container("prod", PROD).await;
    assert_eq!(
        (made.name.as_str(), &made.regions[..], made.connection.as_str()),
        ("prod", &[REGION.to_owned()][..], "prod")
    );
    for named in ["prod", &made.id] {
        assert_eq!(containers.get_container(the(named, admin())).await.unwrap().into_inner(), made);
    }
    let listed = containers.list_containers(list()).await.unwrap().into_inner();
    let names: Vec<_> = listed.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!((listed.total, names), (2, vec!["prod", "default"]));
    assert_eq!(
        (listed.containers[1].id.as_str(), listed.containers[1].account_id.as_str()),
        (DEFAULT_ID, "111122223333")
    );
    for (request, expected) in [
        (ListContainersRequest { account_id: PROD.to_owned(), ..list() }, vec!["prod"]),
        (ListContainersRequest { id: DEFAULT_ID.to_owned(), ..list() }, vec!["default"]),
        (ListContainersRequest { id: "7".to_owned(), ..list() }, vec![]),
        (ListContainersRequest { archived: Some(true), ..list() }, vec![]),
        (ListContainersRequest { connection: "prod".to_owned(), ..list() }, vec!["prod"]),
        (ListContainersRequest { sort: "name".to_owned(), ..list() }, vec!["default", "prod"]),
        (ListContainersRequest { sort: "-account_id".to_owned(), skip: 1, ..list() }, vec!["default"]),
    ] {
        let found = containers.list_containers(request.clone()).await.unwrap().into_inner().containers;
        assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), expected, "{request:?}");
    }

    let renamed = containers.update_container(rename("prod", "live")).await.unwrap().into_inner();
    assert_eq!((renamed.name.as_str(), &renamed.regions), ("live", &made.regions));
    assert_eq!(containers.get_container(the("prod", admin())).await.unwrap_err().code(), Code::NotFound);
    containers.delete_container(the("live", admin())).await.unwrap();
    assert_eq!(containers.get_container(the(&made.id, admin())).await.unwrap_err().code(), Code::NotFound);
    // Its account and its name are free again.
    site.container("live", PROD).await;
}

#[tokio::test]
async fn what_is_taken_wrong_or_the_settings_is_refused() {
    let site = Site::with(&CALM).await;
    let mut containers = site.containers().await;
    site.container("prod", PROD).await;
    let new = new_container("new", TEST);
    let strangers = CreateContainerRequest { tenant: STRANGER.to_owned(), ..new.clone() };
    for (request, code, said) in [
        (new_container("prod", TEST), Code::AlreadyExists, "name: "),
        (new_container("default", TEST), Code::AlreadyExists, "name: "),
        (new_container("new", PROD), Code::AlreadyExists, "account_id: "),
        (
            CreateContainerRequest { account_id: PROD.to_owned(), ..strangers.clone() },
            Code::AlreadyExists,
            "account_id: ",
        ),
        // Nobody else may take the default container's account over.
        (
            CreateContainerRequest { account_id: "111122223333".to_owned(), ..strangers },
            Code::AlreadyExists,
            "account_id: ",
        ),
        (new_container("new", "1"), Code::InvalidArgument, "account_id: "),
        (CreateContainerRequest { regions: vec!["x".to_owned()], ..new.clone() }, Code::InvalidArgument, "regions: "),
        (CreateContainerRequest { rights: None, ..new.clone() }, Code::PermissionDenied, "containers are changed"),
        (CreateContainerRequest { rights: bulk(), ..new.clone() }, Code::PermissionDenied, "containers are changed"),
    ] {
        let refused = containers.create_container(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().starts_with(said), "{refused:?}");
    }
    for refused in [
        containers.update_container(rename("default", "mine")).await.unwrap_err(),
        containers.delete_container(the("default", admin())).await.unwrap_err(),
        containers.archive_container(the(DEFAULT_ID, admin())).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    }
    let mut of_strangers = the("prod", admin());
    of_strangers.tenant = STRANGER.to_owned();
    assert_eq!(containers.delete_container(of_strangers).await.unwrap_err().code(), Code::NotFound);
    site.permit("default", BOB, &["view"]).await;
    for refused in [
        containers.get_container(the("prod", bob())).await.unwrap_err(),
        containers.delete_container(the("prod", bob())).await.unwrap_err(),
        containers.archive_container(the("prod", bob())).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    let seen =
        containers.list_containers(ListContainersRequest { rights: bob(), ..list() }).await.unwrap().into_inner();
    assert_eq!((seen.total, seen.containers[0].name.as_str()), (1, "default"));
    assert_eq!(seen.containers[0].acls[0].user_id, BOB);
}

#[tokio::test]
async fn an_archived_container_takes_nothing_new_and_a_busy_one_is_not_deleted() {
    let site = Site::with(&CALM).await;
    let mut containers = site.containers().await;
    site.container("prod", PROD).await;
    let key = arn(PROD, REGION, "key-0");
    let job = created(&site.send(parts(&[&key])).await.unwrap());
    let busy = containers.delete_container(the("prod", admin())).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    assert!(containers.archive_container(the("prod", admin())).await.unwrap().into_inner().archived);

    let sync = CreateSynchronizationRequest {
        tenant: TENANT.to_owned(),
        kms: vec!["prod".to_owned()],
        rights: admin(),
        ..CreateSynchronizationRequest::default()
    };
    let mut syncs = site.leader.synchronizations().await.unwrap();
    for refused in [
        site.send(parts(&["key-1", &key])).await.unwrap_err(),
        syncs.create_synchronization(sync.clone()).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert!(refused.message().contains("\"prod\" is archived"), "{refused:?}");
    }
    // What ran goes on, and what is archived can be stopped and taken back.
    site.jobs().await.await_stopped(stop(job, 60_000)).await.unwrap();
    site.finished(job).await;
    assert!(!containers.recover_container(the("prod", admin())).await.unwrap().into_inner().archived);
    let synchronizing = syncs.create_synchronization(sync).await.unwrap().into_inner();
    assert_eq!((&synchronizing.kms[..], synchronizing.parts.len()), (&["prod".to_owned()][..], 1));
    let busy = containers.delete_container(the("prod", admin())).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    assert!(busy.message().contains("synchronized"), "{busy:?}");
}

#[tokio::test]
async fn synchronizations_go_to_the_container_that_an_account_belongs_to_and_tell_its_name_of_now() {
    let site = Site::with(&CALM).await;
    let mut containers = site.containers().await;
    for (name, account) in [("mine", "111122223333"), ("prod", PROD), ("old", TEST)] {
        site.container(name, account).await;
    }
    containers.archive_container(the("old", admin())).await.unwrap();
    let mut syncs = site.leader.synchronizations().await.unwrap();
    let of = |kms: &[&str], all| CreateSynchronizationRequest {
        tenant: TENANT.to_owned(),
        kms: kms.iter().map(|kms| (*kms).to_owned()).collect(),
        all,
        rights: admin(),
        ..CreateSynchronizationRequest::default()
    };
    let taken = syncs.create_synchronization(of(&["default"], false)).await.unwrap_err();
    assert_eq!(taken.code(), Code::FailedPrecondition);
    assert!(taken.message().contains("\"mine\""), "{taken:?}");
    let nowhere = CreateSynchronizationRequest { regions: vec!["us-east-1".to_owned()], ..of(&["prod"], false) };
    assert_eq!(syncs.create_synchronization(nowhere).await.unwrap_err().code(), Code::InvalidArgument);

    let all = syncs.create_synchronization(of(&[], true)).await.unwrap().into_inner();
    assert_eq!(all.kms, ["mine", "prod"]);
    containers.update_container(rename("prod", "live")).await.unwrap();
    for (kms, expected) in [("live", 1), ("prod", 0), ("old", 0)] {
        let request = ListSynchronizationsRequest {
            tenant: TENANT.to_owned(),
            limit: 10,
            kms: vec![kms.to_owned()],
            rights: admin(),
            ..ListSynchronizationsRequest::default()
        };
        let found = syncs.list_synchronizations(request).await.unwrap().into_inner();
        assert_eq!(found.total, expected, "{kms}");
        for sync in found.synchronizations {
            assert_eq!(
                (&sync.kms[..], sync.parts[1].kms.as_str()),
                (&["mine".to_owned(), "live".to_owned()][..], "live")
            );
        }
    }
}
