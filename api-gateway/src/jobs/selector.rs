//! `selector` of a create: which registered keys a job is about, instead of a list of them.

use std::collections::BTreeMap;

use job_model::{KeyState, key::is_region};
use keyfleet_proto::estate::v1 as proto;
use serde::{Deserialize, Serialize};

use crate::keys::alias;

/// Which registered keys. All that is given must hold; something must be given
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selector {
    /// In this container, by name or id
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    /// In one of these Regions
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) regions: Option<Vec<String>>,
    /// In this state, in AWS's word
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// With an alias that begins so, with or without alias/
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alias_prefix: Option<String>,
    /// With all these tags
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<BTreeMap<String, String>>,
}

impl Selector {
    /// What is wrong with it, if something is.
    pub(super) fn check(&self) -> Result<(), String> {
        if *self == Self::default() {
            return Err("selector: is empty; give container, regions, state, alias_prefix or tags".to_owned());
        }
        if self.state.as_ref().is_some_and(|state| state.parse::<KeyState>().is_err()) {
            return Err(format!("selector: state: must be one of AWS's key states, not {:?}", self.state));
        }
        match &self.regions {
            Some(regions) if regions.is_empty() => return Err("selector: regions: is empty".to_owned()),
            Some(regions) => {
                if let Some(region) = regions.iter().find(|region| !is_region(region)) {
                    return Err(format!("selector: regions: {region:?} is no Region's name"));
                }
            }
            None => {}
        }
        if self.tags.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err("selector: tags: is empty".to_owned());
        }
        let texts = [&self.container, &self.alias_prefix].into_iter().flatten();
        let tags = self.tags.iter().flatten().flat_map(|(key, value)| [key, value]);
        if texts.clone().any(String::is_empty) {
            return Err("selector: container and alias_prefix must not be empty".to_owned());
        }
        if texts.chain(tags).any(|text| text.contains('\0')) {
            return Err("selector: has a NUL character".to_owned());
        }
        Ok(())
    }

    /// The same as the scheduler takes it. A key that is gone is never selected.
    pub(super) fn filter(&self) -> proto::KeyFilter {
        proto::KeyFilter {
            kms: self.container.iter().cloned().collect(),
            regions: self.regions.clone().unwrap_or_default(),
            states: self.state.iter().cloned().collect(),
            alias_prefix: self.alias_prefix.as_deref().map(alias).unwrap_or_default(),
            tags: self
                .tags
                .iter()
                .map(|tags| proto::Tags { tags: tags.iter().map(|(k, v)| (k.clone(), v.clone())).collect() })
                .collect(),
            gone: Some(false),
            ..proto::KeyFilter::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Selector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn all_that_is_given_becomes_one_filter() {
        let selector = read(
            r#"{"container": "c", "regions": ["eu-west-1"], "state": "Disabled", "alias_prefix": "pay/", "tags": {"a": "b"}}"#,
        );
        selector.check().unwrap();
        let filter = selector.filter();
        assert_eq!(
            (filter.kms.join(""), filter.regions.join(""), filter.states.join("")),
            ("c".to_owned(), "eu-west-1".to_owned(), "Disabled".to_owned())
        );
        assert_eq!((filter.alias_prefix.as_str(), filter.tags.len(), filter.gone), ("alias/pay/", 1, Some(false)));
        assert_eq!(read(&serde_json::to_string(&selector).unwrap()), selector);
    }

    #[test]
    fn what_selects_everything_or_nothing_by_mistake_is_refused() {
        for bad in [
            "{}",
            r#"{"state": "enabled"}"#,
            r#"{"regions": []}"#,
            r#"{"regions": ["x"]}"#,
            r#"{"tags": {}}"#,
            r#"{"container": ""}"#,
            r#"{"alias_prefix": ""}"#,
            r#"{"tags": {"a": "\u0000"}}"#,
        ] {
            assert!(read(bad).check().unwrap_err().starts_with("selector: "), "{bad}");
        }
        for bad in [r#"{"states": "Enabled"}"#, r#"{"regions": "eu-west-1"}"#, "[]"] {
            assert!(serde_json::from_str::<Selector>(bad).is_err(), "{bad}");
        }
    }
}
