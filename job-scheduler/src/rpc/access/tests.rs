use tonic::Code;
use uuid::Uuid;

use super::*;
use crate::containers::Acl;

const UUID: &str = "6c9f2e0a-6f55-4d0c-9d7e-0f8a4c1b2d3e";

fn kylo() -> Tenant {
    "kylo:kylo".parse().unwrap()
}

fn acl(who: Who, actions: &[&str]) -> Acl {
    Acl { who, actions: actions.iter().map(|action| (*action).to_owned()).collect() }
}

/// The default container and `eu-prod`, with these ACLs each.
fn estate(default: Vec<Acl>, prod: Vec<Acl>) -> Arc<Estate> {
    let base = Container::default_of(kylo(), "111122223333".to_owned(), "us-east-1".to_owned());
    let prod = Container {
        id: ContainerId::from_uuid(Uuid::from_u128(1)),
        name: "eu-prod".to_owned(),
        account: "222233334444".to_owned(),
        acls: prod,
        ..base.clone()
    };
    Arc::new(Estate::new(Container { acls: default, ..base }, vec![prod]))
}

fn access(estate: &Arc<Estate>, of: &str, rights: Rights) -> Access {
    Access::new(of.parse().unwrap(), Arc::clone(estate), Some(rights))
}

fn user(user: &str, groups: &[&str]) -> Rights {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Rights { user: user.to_owned(), groups, ..Rights::default() }
}

#[test]
fn a_gateway_that_knows_no_rights_may_what_it_could_before() {
    let estate = estate(vec![], vec![]);
    let older = Access::new(kylo(), Arc::clone(&estate), None);
    assert!(older.need(estate.default_one(), Action::Bulk).is_ok());
    assert_eq!(older.need_everything().unwrap_err().code(), Code::PermissionDenied);
}

#[test]
fn who_may_do_what() {
    let estate = estate(
        vec![acl(Who::Group("ops".to_owned()), &["view", "no-such-action"])],
        vec![
            acl(Who::user(&format!("user::local|{UUID}")), &["keybulkoperation"]),
            acl(Who::Group("ops".to_owned()), &["keysynchronize"]),
            acl(Who::Group("odd".to_owned()), &["no-such-action"]),
            acl(Who::Group("readers".to_owned()), &["viewnative", "keycreate"]),
        ],
    );
    let subject = format!("local|{UUID}");
    let (default, prod) = (estate.default_one(), estate.named(&kylo(), "eu-prod").unwrap());
    let everything = Rights { everything: true, ..Rights::default() };
    let bulk = Rights { bulk: true, ..Rights::default() };
    // Whether it may see and use the default one, and see, use and synchronize the other.
    for (who, rights, expected) in [
        ("kylo:kylo", everything.clone(), [true, true, true, true, true]),
        ("kylo:kylo", bulk.clone(), [true, true, true, true, true]),
        ("kylo:kylo", user(&subject, &[]), [false, false, true, true, false]),
        ("kylo:kylo", user(&subject, &["ops"]), [true, false, true, true, true]),
        ("kylo:kylo", user("local|other", &["ops"]), [true, false, true, false, true]),
        ("kylo:kylo", user("local|other", &["readers"]), [false, false, true, false, false]),
        ("kylo:kylo", user("local|other", &["odd", "OPS", "op"]), [false, false, false, false, false]),
        ("kylo:kylo", user("ops", &[]), [false, false, false, false, false]),
        ("kylo:kylo", user("", &[]), [false, false, false, false, false]),
        // The same names in another tenant are others.
        ("acme:acme", user(&subject, &["ops"]), [false, false, false, false, false]),
    ] {
        let access = access(&estate, who, rights);
        let may = [
            access.may(default, Action::View),
            access.may(default, Action::Bulk),
            access.may(prod, Action::View),
            access.may(prod, Action::Bulk),
            access.may(prod, Action::Synchronize),
        ];
        assert_eq!(may, expected, "{access:?}");
    }
    assert!(access(&estate, "kylo:kylo", everything).need_everything().is_ok());
    assert!(access(&estate, "kylo:kylo", bulk).need_everything().is_err());
}

#[test]
fn a_refusal_names_the_permission_and_the_container() {
    let estate = estate(vec![], vec![]);
    let access = access(&estate, "kylo:kylo", user("alice", &[]));
    let refused = access.need(estate.named(&kylo(), "eu-prod").unwrap(), Action::Bulk).unwrap_err();
    assert_eq!(refused.message(), "the permission keybulkoperation is missing on the container \"eu-prod\"");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = access.need_somewhere(Action::Bulk).unwrap_err();
    assert_eq!(refused.message(), "the permission keybulkoperation is missing on every container");
}

#[test]
fn what_belongs_to_no_account_any_more_is_for_those_who_may_use_every_container() {
    let estate = estate(vec![acl(Who::user("alice"), &["view"])], vec![acl(Who::user("bob"), &["view"])]);
    let bulk = Rights { bulk: true, ..Rights::default() };
    for (who, rights, any, prod, gone) in [
        ("kylo:kylo", bulk.clone(), true, true, true),
        ("acme:acme", bulk, true, true, true),
        ("kylo:kylo", user("alice", &[]), true, false, false),
        ("kylo:kylo", user("bob", &[]), false, true, false),
        ("acme:acme", user("alice", &[]), false, false, false),
    ] {
        let access = access(&estate, who, rights);
        let sees = |account| access.need_for(account, Action::View).is_ok();
        assert_eq!(
            (sees(None), sees(Some("222233334444")), sees(Some("999922223333"))),
            (any, prod, gone),
            "{access:?}"
        );
    }
}
