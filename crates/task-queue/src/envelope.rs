//! Messages to bytes and back.
//!
//! Bytes come from outside: whatever they are, decoding gives a message or says why not, and never panics. What makes
//! no sense is thrown away by the consumer (it would only come back), counted and logged.

use job_model::{JobId, TaskRef, Tenant};
use keyfleet_proto::{convert::BadField, messages::v1 as wire};
use prost::Message;

/// Stop this job. A second or late one changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortCommand {
    /// The job.
    pub job: JobId,
    /// Whose job it is.
    pub tenant: Tenant,
    /// Who asked: the subject of a token.
    pub requested_by: String,
}

/// A message makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// The bytes are no such message.
    #[error("the bytes are no message: {0}")]
    Bytes(#[from] prost::DecodeError),
    /// A field is missing or wrong.
    #[error(transparent)]
    Field(#[from] BadField),
}

/// A message with a kind: what the broker's `type` property says and how the bytes are read.
pub(crate) trait Envelope: Sized {
    const KIND: &'static str;
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Result<Self, Undecodable>;
}

impl Envelope for TaskRef {
    const KIND: &'static str = "keyfleet.messages.v1.TaskOffer";

    fn to_bytes(&self) -> Vec<u8> {
        wire::TaskOffer { job_id: self.job.to_vec().into(), seq: self.seq }.encode_to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Undecodable> {
        let offer = wire::TaskOffer::decode(bytes)?;
        Ok(Self { job: keyfleet_proto::convert::job_id(&offer.job_id)?, seq: offer.seq })
    }
}

impl Envelope for AbortCommand {
    const KIND: &'static str = "keyfleet.messages.v1.AbortCommand";

    fn to_bytes(&self) -> Vec<u8> {
        let tenant = self.tenant.to_string();
        let requested_by = self.requested_by.clone();
        wire::AbortCommand { job_id: self.job.to_vec().into(), tenant, requested_by }.encode_to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Undecodable> {
        let command = wire::AbortCommand::decode(bytes)?;
        Ok(Self {
            job: keyfleet_proto::convert::job_id(&command.job_id)?,
            tenant: command.tenant.parse().map_err(|_| BadField("tenant"))?,
            requested_by: command.requested_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn any_task_survives_the_way(id: u128, seq: u32) {
            let task = TaskRef { job: JobId::from_uuid(Uuid::from_u128(id)), seq };
            prop_assert_eq!(TaskRef::from_bytes(&task.to_bytes()).unwrap(), task);
        }

        #[test]
        fn any_command_survives_the_way(id: u128, tenant in "[a-z]{1,9}:[a-z0-9._-]{1,9}", requested_by: String) {
            let job = JobId::from_uuid(Uuid::from_u128(id));
            let command = AbortCommand { job, tenant: tenant.parse().unwrap(), requested_by };
            prop_assert_eq!(AbortCommand::from_bytes(&command.to_bytes()).unwrap(), command);
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>) {
            if let Ok(task) = TaskRef::from_bytes(&bytes) {
                prop_assert_eq!(TaskRef::from_bytes(&task.to_bytes()).unwrap(), task);
            }
            if let Ok(command) = AbortCommand::from_bytes(&bytes) {
                prop_assert_eq!(AbortCommand::from_bytes(&command.to_bytes()).unwrap(), command);
            }
        }

        /// Damage done to a good message reaches deeper than arbitrary bytes.
        #[test]
        fn damaged_bytes_are_a_message_or_an_error(id: u128, seq: u32, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let job = JobId::from_uuid(Uuid::from_u128(id));
            let command = AbortCommand { job, tenant: "kylo:kylo".parse().unwrap(), requested_by: "somebody".into() };
            for mut bytes in [TaskRef { job, seq }.to_bytes(), command.to_bytes()] {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes.truncate(cut.index(bytes.len() + 1));
                let _any = (TaskRef::from_bytes(&bytes), AbortCommand::from_bytes(&bytes));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let told = |result: Result<TaskRef, Undecodable>| result.unwrap_err().to_string();
        assert_eq!(told(TaskRef::from_bytes(b"")), "the field job_id is missing or makes no sense");
        assert!(told(TaskRef::from_bytes(b"\xff\xff")).starts_with("the bytes are no message"));
        let wire =
            wire::AbortCommand { job_id: vec![7; 16].into(), tenant: "kylo".into(), requested_by: String::new() };
        let error = AbortCommand::from_bytes(&wire.encode_to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "the field tenant is missing or makes no sense");
    }
}
