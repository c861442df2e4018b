//! A client of KMS without an SDK, and a simulator of its own for each test.

use std::sync::{Arc, Once};

use job_model::quota::Quotas;
use kms_sim::{Config, ConfigChange, KeyState, LogRow, NewKeys, Settings, Sim, clock::ManualClock};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const REGION: &str = "us-east-1";

/// A simulator with a clock that stands, and a client for it.
pub(crate) struct Kms {
    pub(crate) sim: Sim,
    pub(crate) clock: Arc<ManualClock>,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header `x-amzn-errortype`.
    pub(crate) error_type: Option<String>,
    pub(crate) request_id: Option<String>,
    /// `null` if there was none.
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer that must be a success.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }

    /// The message of an answer that must be this refusal, told the same way in status, header and body.
    pub(crate) fn refused(self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.error_type.as_deref(), Some(code), "{self:?}");
        assert_eq!(self.body["__type"], code, "{self:?}");
        self.body["message"].as_str().unwrap().to_owned()
    }
}

impl Kms {
    /// Without quotas, for what is not about them.
    pub(crate) async fn start() -> Self {
        Self::start_with(Quotas::off()).await
    }

    pub(crate) async fn start_with(quota: Quotas) -> Self {
        static PROVIDER: Once = Once::new();
        // The client's TLS is never used, but is not built without a provider.
        PROVIDER.call_once(|| rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap());
        let clock = Arc::new(ManualClock::default());
        let config = Config { quota, ..Config::default() };
        let settings = Settings { config, clock: clock.clone(), ..Settings::default() };
        Self { sim: Sim::start(settings).await.unwrap(), clock, http: reqwest::Client::new() }
    }

    /// Calls an operation with the usual credentials.
    pub(crate) async fn call(&self, op: &str, body: Value) -> Answer {
        self.call_as("AKIDEXAMPLE", REGION, op, body.to_string()).await
    }

    /// Calls an operation that is about one key.
    pub(crate) async fn key(&self, op: &str, id: &str) -> Answer {
        self.call(op, json!({ "KeyId": id })).await
    }

    pub(crate) async fn call_as(&self, access_key_id: &str, region: &str, op: &str, body: String) -> Answer {
        self.send(op, Some(authorization(access_key_id, region)), body).await
    }

    pub(crate) async fn send(&self, op: &str, authorization: Option<String>, body: String) -> Answer {
        let mut request =
            self.http.post(self.sim.url()).header("x-amz-target", format!("TrentService.{op}")).body(body);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (error_type, request_id) = (header("x-amzn-errortype"), header("x-amzn-requestid"));
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Answer { status, error_type, request_id, body }
    }

    /// A request to `/_sim`: the status and the text.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let url = format!("{}/_sim/{path}", self.sim.url());
        let request = self.http.request(method.parse().unwrap(), url).body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A request on a connection of its own, which is not waited for.
    pub(crate) async fn begin(&self, op: &str, id: &str) -> TcpStream {
        let body = json!({ "KeyId": id }).to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: kms\r\nx-amz-target: TrentService.{op}\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n{body}",
            authorization("AKIDEXAMPLE", REGION),
            body.len()
        );
        let mut stream = TcpStream::connect(self.sim.addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// One key in this state.
    pub(crate) fn make(&self, state: KeyState) -> String {
        self.sim.make_keys(NewKeys { state: Some(state), ..NewKeys::default() }).unwrap().remove(0)
    }

    /// The state that DescribeKey tells.
    pub(crate) async fn state(&self, id: &str) -> String {
        let described = self.key("DescribeKey", id).await.ok();
        described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
    }

    pub(crate) fn configure(&self, change: Value) {
        self.sim.configure(serde_json::from_value::<ConfigChange>(change).unwrap()).unwrap();
    }

    /// Waits until the log's row of this number is there and satisfies `is`.
    pub(crate) async fn logged(&self, n: u64, is: impl Fn(&LogRow) -> bool) -> LogRow {
        loop {
            if let Some(row) = self.sim.log(n - 1).into_iter().next().filter(|row| is(row)) {
                return row;
            }
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn arn(id: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{id}")
}

/// Everything until the connection is closed.
pub(crate) async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn authorization(access_key_id: &str, region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={access_key_id}/20260101/{region}/kms/aws4_request, SignedHeaders=host, Signature=00"
    )
}
