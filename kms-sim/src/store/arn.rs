//! The names of KMS resources.

/// The partition a Region belongs to.
pub(crate) fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// The parts of `arn:<partition>:kms:<region>:<account>:<resource>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// `None` if the text is no ARN of KMS.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let head = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        (head == ("arn", partition(region), "kms")).then_some(Self { region, account, resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arns_of_kms_in_their_own_partition_are_read() {
        let arn = Arn::parse("arn:aws:kms:us-east-1:111122223333:key/a:b").unwrap();
        assert_eq!((arn.region, arn.account, arn.resource), ("us-east-1", "111122223333", "key/a:b"));
        for text in [
            "arn:aws:s3:us-east-1:111122223333:key/a",
            "arn:aws:kms:cn-north-1:111122223333:key/a",
            "arn:aws:kms:us-east-1:111122223333",
            "key/a",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
