//! Makes the calls of an account and Region: AWS JSON 1.1, signed by Signature Version 4.
//!
//! The SDK's own client of KMS is not used for this. It puts together anew for each call what is the same for all of a
//! Region, retry and endpoint and interceptors and more, and most of a key's CPU went there (docs/BENCHMARKS.md). What is
//! hard stays AWS's own: the signature, the rules by which a Region's endpoint is found, and where credentials come from.

use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_sdk_kms::config::endpoint::{DefaultResolver, ParamsBuilder, ResolveEndpoint as _};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{CONTENT_TYPE, HOST, USER_AGENT},
};
use job_model::outcome::Failure;
use serde::Serialize;
use service_kit::clock;

use super::{
    answers::{Output, no_answer, read},
    origin::refusal,
};
use crate::kms::{connection::chain, flight::Flight, transport::Transport};

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
/// CloudTrail tells it of each call.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("keyfleet/", env!("CARGO_PKG_VERSION")));
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The end of a Region.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    transport: Transport,
    uri: Uri,
    host: HeaderValue,
    region: String,
}

impl Caller {
    /// At AWS's end of the Region, or the one that is given.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn new(transport: Transport, endpoint: ParamsBuilder) -> Result<Self, String> {
        let endpoint = endpoint.build().map_err(|error| chain(&error))?;
        let region = endpoint.region().unwrap_or_default().to_owned();
        let found = DefaultResolver::new().resolve_endpoint(&endpoint).now_or_never();
        let found = found.ok_or("its endpoint is not known at once")?.map_err(|error| chain(error.as_ref()))?;
        let unusable = |_| format!("{} is no address of a KMS end", found.url());
        let uri: Uri = found.url().parse().map_err(|_| unusable(()))?;
        let host = uri.authority().ok_or(()).and_then(|host| HeaderValue::try_from(host.as_str()).map_err(drop));
        Ok(Self { transport, host: host.map_err(unusable)?, uri, region })
    }

    /// Makes one call. Dropping the future closes its connection.
    pub(super) async fn call<T: Output>(
        &self,
        operation: &str,
        input: &impl Serialize,
        credentials: Credentials,
        flight: Arc<Flight>,
    ) -> Result<T, Failure> {
        let request = self.signed(operation, input, credentials).map_err(|why| Failure::Refused(refusal(why)))?;
        match self.transport.send(flight.clone(), request).await {
            Ok(answer) => read(&answer),
            Err(error) => Err(no_answer(flight.progress(), chain(&error))),
        }
    }

    fn signed(
        &self,
        operation: &str,
        input: &impl Serialize,
        credentials: Credentials,
    ) -> Result<Request<Bytes>, String> {
        let body = Bytes::from(serde_json::to_vec(input).map_err(|error| chain(&error))?);
        let target = format!("TrentService.{operation}");
        let mut request = Request::post(&self.uri)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, JSON)
            .header(TARGET, &target)
            .body(body)
            .map_err(|error| chain(&error))?;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("kms")
            .time(clock::wall().into())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| chain(&error))?
            .into();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(
            request.method().as_str(),
            self.uri.to_string(),
            headers,
            SignableBody::Bytes(request.body()),
        )
        .and_then(|signable| sign(signable, &params));
        let (headers, _query) = signable.map_err(|error| chain(&error))?.into_parts().0.into_parts();
        for header in headers {
            let mut value = HeaderValue::try_from(header.value())
                .map_err(|_| format!("the credentials cannot be written as {}", header.name()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header.name(), value);
        }
        request.headers_mut().insert(USER_AGENT, AGENT);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use aws_sdk_kms::config::endpoint::Params;
    use hmac::{Hmac, Mac as _};
    use serde_json::json;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn caller(endpoint: ParamsBuilder) -> Result<Caller, String> {
        Caller::new(Transport::new(Duration::from_secs(1), clock::boottime), endpoint)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn hmac(key: &[u8], text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// AWS's steps ("Create a signed AWS API request", IAM user guide), taken with what was made.
    #[test]
    fn a_request_is_signed_as_aws_checks_it() {
        let caller = caller(Params::builder().region("eu-west-1").endpoint("http://127.0.0.1:8080")).unwrap();
        let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI", Some("session".to_owned()), None, "test");
        let request = caller.signed("EnableKey", &json!({"KeyId": "a key"}), credentials).unwrap();

        let headers: BTreeMap<&str, &str> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let (date_time, given) = (headers["x-amz-date"], headers["authorization"]);
        let date = &date_time[..8];
        let names = ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"];
        let signed: String = names.map(|name| format!("{name}:{}\n", headers[name])).concat();
        let names = names.join(";");
        let body = hex(&Sha256::digest(request.body()));
        let canonical = hex(&Sha256::digest(format!("POST\n/\n\n{signed}\n{names}\n{body}")));
        let scope = format!("{date}/eu-west-1/kms/aws4_request");
        let key = [date, "eu-west-1", "kms", "aws4_request"]
            .into_iter()
            .fold(b"AWS4wJalrXUtnFEMI".to_vec(), |key, text| hmac(&key, text));
        let signature = hex(&hmac(&key, &format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{canonical}")));
        assert_eq!(
            given,
            format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}")
        );
        assert_eq!(headers["x-amz-security-token"], "session");
        assert_eq!((headers["x-amz-target"], headers["host"]), ("TrentService.EnableKey", "127.0.0.1:8080"));
        assert_eq!(request.body(), &br#"{"KeyId":"a key"}"#[..]);
    }

    #[test]
    fn each_region_is_called_where_aws_says() {
        let uri = |endpoint| caller(endpoint).map(|caller| caller.uri.to_string());
        for (region, at) in [
            ("us-east-1", "https://kms.us-east-1.amazonaws.com/"),
            ("cn-north-1", "https://kms.cn-north-1.amazonaws.com.cn/"),
            ("us-iso-east-1", "https://kms.us-iso-east-1.c2s.ic.gov/"),
        ] {
            assert_eq!(uri(Params::builder().region(region)).unwrap(), at);
        }
        let fips = Params::builder().region("us-gov-west-1").use_fips(true);
        assert_eq!(uri(fips).unwrap(), "https://kms-fips.us-gov-west-1.amazonaws.com/");
        assert!(uri(Params::builder().region("no region")).is_err());
    }

    #[test]
    fn credentials_that_no_header_can_carry_sign_nothing() {
        let caller = caller(Params::builder().region("eu-west-1")).unwrap();
        let why = caller.signed("EnableKey", &json!({}), Credentials::new("a\nb", "secret", None, None, "test"));
        assert!(why.unwrap_err().contains("authorization"));
    }
}
