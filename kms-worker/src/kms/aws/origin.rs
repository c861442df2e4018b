//! Where credentials come from, and why there may be none.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::{profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sdk_sts::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use job_model::{Refusal, outcome::Failure};
use service_kit::clock;
use tokio::time::timeout;

use super::credentials::Source;
use crate::{
    connections::{Place, Role},
    kms::connection::chain,
};

/// How long one load may take: below the operation timeout, so that the reason is told and not a time-out.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long what has no end is taken for good that somebody may write anew: a key in a file, a profile.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// Who or what has credentials.
pub(super) enum Origin {
    /// The standard chain, or what stands for it.
    Chain(SharedCredentialsProvider),
    /// A profile. Read anew each time: its files may have changed.
    Profile { name: String, config: Box<ProviderConfig> },
    /// An access key.
    Keys { access_key_id: Place, secret_access_key: Place, session_token: Option<Place> },
    /// STS, for a role that is assumed with other credentials.
    Role { base: Arc<Source>, sts: aws_sdk_sts::Client, role: Role, session_name: String },
}

/// What a load gave.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) credentials: Credentials,
    /// For how long they are good, counted from here; without, for ever.
    pub(super) lasts: Option<Duration>,
}

/// Why there are no credentials: told for every key that wanted some, so it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct Lack {
    /// It may be over soon: nobody has refused anything.
    pub(super) passing: bool,
    pub(super) text: String,
}

impl Lack {
    /// What it means for a request.
    pub(super) fn failure(&self) -> Failure {
        let text = self.text.clone();
        match self.passing {
            true => Failure::Unsent(text),
            false => Failure::Refused(refusal(text)),
        }
    }
}

/// A request that cannot be signed now will not be able to next time either. No HTTP status: KMS was not asked.
pub(super) fn refusal(text: String) -> Refusal {
    Refusal { code: "CredentialsError".to_owned(), text, status: 0 }
}

impl Origin {
    /// Asks for credentials. `by` says whose they are: empty, or ` by the connection "…"`.
    pub(super) async fn load(&self, by: &str) -> Result<Loaded, Lack> {
        match self {
            Self::Chain(provider) => match timeout(PATIENCE, provider.provide_credentials()).await {
                Ok(answer) => {
                    answer.map(|credentials| Loaded::new(credentials, None)).map_err(|error| none(by, &error))
                }
                // Most likely an instance's metadata service that is not there.
                Err(_elapsed) => Err(none(by, &CredentialsError::provider_timed_out(PATIENCE))),
            },
            Self::Profile { name, config } => {
                let profile = ProfileFileCredentialsProvider::builder().profile_name(name).configure(config).build();
                match timeout(PATIENCE, profile.provide_credentials()).await {
                    Ok(answer) => answer
                        .map(|credentials| Loaded::new(credentials, Some(READ_AGAIN)))
                        .map_err(|error| none(by, &error)),
                    Err(_elapsed) => {
                        let text =
                            format!("no AWS credentials{by}: the profile {name:?} gave none within {PATIENCE:?}");
                        Err(Lack { passing: true, text })
                    }
                }
            }
            Self::Keys { access_key_id, secret_access_key, session_token } => {
                let read = async || {
                    let token = match session_token {
                        Some(token) => Some(token.read().await?),
                        None => None,
                    };
                    let (id, secret) = (access_key_id.read().await?, secret_access_key.read().await?);
                    Ok(Credentials::new(id, secret, token, None, "connection"))
                };
                let credentials = read()
                    .await
                    .map_err(|why: String| Lack { passing: false, text: format!("no AWS credentials{by}: {why}") })?;
                Ok(Loaded::new(credentials, Some(READ_AGAIN)))
            }
            Self::Role { base, sts, role, session_name } => {
                let begun = base.now();
                base.get().await?;
                let call = sts
                    .assume_role()
                    .role_arn(&role.arn)
                    .role_session_name(session_name)
                    .set_external_id(role.external_id.clone())
                    .send();
                let (passing, why) = match timeout(PATIENCE, call).await {
                    Ok(Ok(output)) => match output.credentials.ok_or(()).and_then(assumed) {
                        Ok(credentials) => return Ok(Loaded::new(credentials, None)),
                        Err(()) => (true, "STS gave an answer without credentials".to_owned()),
                    },
                    Ok(Err(error)) => {
                        if error.code().is_some_and(is_about_credentials) {
                            base.distrust(begun);
                        }
                        told(&error)
                    }
                    Err(_elapsed) => (true, format!("STS gave no answer within {PATIENCE:?}")),
                };
                Err(Lack { passing, text: format!("the role {} cannot be assumed{by}: {why}", role.arn) })
            }
        }
    }
}

impl Place {
    /// The secret that is there.
    async fn read(&self) -> Result<String, String> {
        let (name, text) = match self {
            Self::Variable(name) => (
                format!("the variable {name}"),
                std::env::var(name).map_err(|_| format!("the variable {name} is not set")),
            ),
            Self::File(path) => (
                path.display().to_string(),
                tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display())),
            ),
        };
        match text?.trim() {
            "" => Err(format!("{name} is empty")),
            text => Ok(text.to_owned()),
        }
    }
}

impl Loaded {
    /// What says itself when it ends is believed; the rest is good for as long as `unless_said`.
    fn new(credentials: Credentials, unless_said: Option<Duration>) -> Self {
        // The wall clock is what AWS goes by.
        let now = clock::wall().into();
        let said = credentials.expiry().map(|end| end.duration_since(now).unwrap_or_default());
        Self { credentials, lasts: said.or(unless_said) }
    }
}

fn assumed(given: aws_sdk_sts::types::Credentials) -> Result<Credentials, ()> {
    if [&given.access_key_id, &given.secret_access_key, &given.session_token].into_iter().any(String::is_empty) {
        return Err(());
    }
    let expiry = given.expiration.try_into().map_err(drop)?;
    Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), Some(expiry), "STS"))
}

fn none(by: &str, error: &CredentialsError) -> Lack {
    Lack { passing: is_passing(error), text: format!("no AWS credentials{by}: {}", chain(error)) }
}

/// Whether it was STS behind the SDK's own providers that could not be reached or was asked too often.
fn is_passing(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            return told(error).0;
        }
        if let Some(error) = error.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
            return told(error).0;
        }
        next = error.source();
    }
    false
}

/// What STS said: whether it may be over soon, and in which words.
fn told<E>(error: &SdkError<E, HttpResponse>) -> (bool, String)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let (status, said) = (service.raw().status().as_u16(), service.err());
            let code = said.code().unwrap_or("no code");
            let passes = matches!(
                code,
                "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException"
            );
            (passes || status == 429 || status >= 500, format!("{code}: {}", said.message().unwrap_or("no text")))
        }
        SdkError::ConstructionFailure(_) => (false, chain(error)),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) | _ => {
            (true, chain(error))
        }
    }
}

/// Whether an error code of AWS's says that the credentials themselves are no good (any more).
pub(super) fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
    )
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(_) => f.write_str("Chain"),
            Self::Profile { name, .. } => write!(f, "Profile({name})"),
            Self::Keys { .. } => f.write_str("Keys"),
            Self::Role { role, .. } => write!(f, "Role({})", role.arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_read_where_it_is_said_to_be() {
        let folder = std::env::temp_dir().join(format!("keyfleet-place-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("secret");
        std::fs::write(&file, " hunter2\n").unwrap();
        assert_eq!(Place::File(file.clone()).read().await.unwrap(), "hunter2");
        std::fs::write(&file, "\n").unwrap();
        assert!(Place::File(file).read().await.unwrap_err().contains("is empty"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(Place::File(folder).read().await.unwrap_err().contains("keyfleet-place"));
        // Set by cargo for every test.
        assert_eq!(Place::Variable("CARGO_PKG_NAME".to_owned()).read().await.unwrap(), "kms-worker");
        assert!(Place::Variable("KEYFLEET_NOWHERE".to_owned()).read().await.unwrap_err().contains("KEYFLEET_NOWHERE"));
    }

    #[test]
    fn a_lack_that_passes_is_tried_again_and_another_is_final() {
        let lack = |passing| Lack { passing, text: "why".to_owned() };
        assert_eq!(lack(true).failure(), Failure::Unsent("why".to_owned()));
        let Failure::Refused(refusal) = lack(false).failure() else { panic!("not refused") };
        assert_eq!((refusal.code.as_str(), refusal.status), ("CredentialsError", 0));
    }
}
