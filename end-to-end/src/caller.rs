//! Somebody who calls the public REST API: logs in, sends what a test says, reads the answer whatever it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dev_stack::User;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::job::{Job, JobView};
use crate::patience::HANG;

/// Where bulk jobs are.
pub const BULKJOB: &str = "/api/v1/cckm/aws/bulkjob";
/// Where containers are.
pub const CONTAINERS: &str = "/api/v1/cckm/aws/kms";
/// Where policy templates are.
pub const TEMPLATES: &str = "/api/v1/cckm/aws/templates";
/// Where registered keys are.
pub const KEYS: &str = "/api/v1/cckm/aws/keys";
/// Where synchronizations are.
pub const SYNCHRONIZATIONS: &str = "/api/v1/cckm/aws/synchronization-jobs";
/// Where tokens are.
pub const TOKENS: &str = "/api/v1/auth/tokens";

/// Tokens live 300 s; a fresh one is fetched well before.
const TOKEN_USED_FOR: Duration = Duration::from_secs(200);

/// A logged-in user. Clones share the login.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Client,
    url: String,
    user: User,
    token: Mutex<Option<(String, Instant)>>,
}

impl Caller {
    /// A caller of the gateway at `url`; logs in at the first call.
    #[must_use]
    pub fn new(http: Client, url: &str, user: &User) -> Self {
        Self(Arc::new(Inner { http, url: url.to_owned(), user: user.clone(), token: Mutex::default() }))
    }

    /// The same user at another gateway.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self::new(self.0.http.clone(), url, &self.0.user)
    }

    /// The name and password.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.0.user
    }

    /// A request without a token.
    #[must_use]
    pub fn bare(&self, method: Method, path: &str) -> Call {
        Call { request: self.0.http.request(method, format!("{}{path}", self.0.url)), caller: None }
    }

    /// A request with the caller's token.
    #[must_use]
    pub fn call(&self, method: Method, path: &str) -> Call {
        Call { caller: Some(self.clone()), ..self.bare(method, path) }
    }

    /// `GET` with the caller's token.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path).send().await
    }

    /// `POST` of JSON with the caller's token.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::POST, path).json(body).send().await
    }

    /// The answer to a login with the caller's password.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn log_in(&self) -> Result<Answer> {
        let User { name, password } = &self.0.user;
        let body = json!({"grant_type": "password", "username": name, "password": password});
        self.bare(Method::POST, TOKENS).json(&body).exchange().await
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// When the login is refused.
    pub async fn token(&self) -> Result<String> {
        let mut held = self.0.token.lock().await;
        if let Some((token, since)) = held.as_ref()
            && since.elapsed() < TOKEN_USED_FOR
        {
            return Ok(token.clone());
        }
        let since = Instant::now();
        let answer = self.log_in().await?.expect(200)?;
        let token = answer.body["jwt"].as_str().context("the login's answer has no jwt")?.to_owned();
        *held = Some((token.clone(), since));
        Ok(token)
    }

    /// Creates a job: one operation over keys.
    ///
    /// # Errors
    /// When it is not answered 201.
    pub async fn create(&self, operation: &str, keys: &[String]) -> Result<Job> {
        self.create_as(&json!({"operation": operation, "keys": keys})).await
    }

    /// Creates a job from a whole body.
    ///
    /// # Errors
    /// When it is not answered 201.
    pub async fn create_as(&self, body: &Value) -> Result<Job> {
        Job::of(self.clone(), self.post(BULKJOB, body).await?)
    }

    /// The list's answer to a query like `?limit=5`.
    ///
    /// # Errors
    /// When it is not answered 200.
    pub async fn list(&self, query: &str) -> Result<Value> {
        Ok(self.get(&format!("{BULKJOB}{query}")).await?.expect(200)?.body)
    }

    /// How many jobs the caller sees.
    ///
    /// # Errors
    /// When the list is not answered 200.
    pub async fn total(&self) -> Result<u64> {
        self.list("?limit=0").await?["total"].as_u64().context("the list has no total")
    }
}

/// A request being put together.
#[derive(Debug)]
pub struct Call {
    request: RequestBuilder,
    caller: Option<Caller>,
}

impl Call {
    /// With this header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    /// With this text as body and no `Content-Type`.
    #[must_use]
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.body(body), ..self }
    }

    /// With this JSON as body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        Self { request: self.request.json(body), ..self }
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// When there is no answer. A refusal is an answer.
    pub async fn send(self) -> Result<Answer> {
        match &self.caller {
            Some(caller) => {
                let token = caller.token().await?;
                Self { request: self.request.bearer_auth(token), caller: None }.exchange().await
            }
            None => self.exchange().await,
        }
    }

    /// Sends it and reads a good answer as a stream, keeping nothing: for jobs that are read whole. Gives the bytes of the body.
    ///
    /// # Errors
    /// When there is no answer, it breaks off, or it is a refusal.
    pub async fn count_bytes(self) -> Result<usize> {
        let request = match &self.caller {
            Some(caller) => {
                let token = caller.token().await?;
                self.request.bearer_auth(token)
            }
            None => self.request,
        };
        let mut answer = request.timeout(HANG).send().await?.error_for_status()?;
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await? {
            bytes += chunk.len();
        }
        Ok(bytes)
    }

    /// Sends it as it is.
    async fn exchange(self) -> Result<Answer> {
        let answer = self.request.timeout(HANG).send().await?;
        let (status, headers, what) = (answer.status().as_u16(), answer.headers().clone(), answer.url().to_string());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { what, status, headers, text, body })
    }
}

/// An answer, good or bad.
#[derive(Clone, Debug)]
pub struct Answer {
    what: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

impl Answer {
    /// The answer, if it has this status.
    ///
    /// # Errors
    /// When it has another, with what it says.
    pub fn expect(self, status: u16) -> Result<Self> {
        let shown: String = self.text.chars().take(400).collect();
        ensure!(self.status == status, "{} answered {}, not {status}: {shown}", self.what, self.status);
        Ok(self)
    }

    /// A header as text; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as a job.
    ///
    /// # Errors
    /// When it is none.
    pub fn job(&self) -> Result<JobView> {
        serde_json::from_str(&self.text).with_context(|| format!("{} did not answer with a job", self.what))
    }

    /// That it is a refusal in the API's form: status, CCKM's code, and a message that names `field`.
    ///
    /// # Errors
    /// Says what is not as it should be.
    pub fn refuses(&self, status: u16, code: u64, field: &str) -> Result<()> {
        let said = format!("{} answered {}: {}", self.what, self.status, self.text);
        ensure!(self.status == status, "not {status}: {said}");
        let fields = self.body.as_object().with_context(|| format!("no JSON object: {said}"))?;
        let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        ensure!(names == ["code", "codeDesc", "message", "requestID"], "other fields: {said}");
        ensure!(self.body["code"] == code, "not code {code}: {said}");
        let text = |name: &str| self.body[name].as_str().unwrap_or_default();
        ensure!(text("codeDesc").starts_with("NCERR"), "codeDesc: {said}");
        ensure!(text("message").contains(field), "the message does not name {field:?}: {said}");
        ensure!(!text("requestID").is_empty() && text("requestID") == self.header("x-request-id"), "requestID: {said}");
        ensure!(self.header("content-type") == "application/json", "content-type: {said}");
        Ok(())
    }
}
