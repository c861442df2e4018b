//! An HTTP end that says what it is told to, KMS's and STS's alike, and what there is for it to say.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Number, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What an end answers.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// AWS's header that names an error.
    pub(crate) error_type: Option<String>,
    pub(crate) body: Vec<u8>,
    /// The connection ends before the announced length.
    pub(crate) broken: bool,
}

impl Said {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON, if it is.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.body.len() + usize::from(self.broken);
        let kind = self.error_type.as_ref().map(|kind| format!("x-amzn-errortype: {kind}\r\n")).unwrap_or_default();
        let mut bytes = format!(
            "HTTP/1.1 {} Said\r\nContent-Type: {}\r\n{kind}Content-Length: {length}\r\n\r\n",
            self.status, self.content_type
        )
        .into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The end; by operation what it says.
#[derive(Clone)]
pub(crate) struct JunkEnd {
    pub(crate) url: String,
    says: Arc<Mutex<HashMap<&'static str, Said>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl JunkEnd {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let end = Self { url, says: Arc::default(), asked: Arc::default() };
        let serving = end.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        end
    }

    /// From here on it says this to `operation`.
    pub(crate) fn says(&self, operation: &'static str, said: Said) {
        self.says.lock().unwrap().insert(operation, said);
    }

    /// Whether it was asked for this.
    pub(crate) fn was_asked(&self, operation: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == operation)
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(request) = read_request(&mut stream).await {
            let said = {
                let says = self.says.lock().unwrap();
                let named = says.iter().find(|(operation, _)| {
                    request.contains(&format!("TrentService.{operation}\r\n"))
                        || request.contains(&format!("Action={operation}&"))
                });
                named.map(|(operation, said)| (*operation, said.clone()))
            };
            let Some((operation, said)) = said else { return };
            self.asked.lock().unwrap().push(operation.to_owned());
            if stream.write_all(&said.bytes()).await.is_err() || said.broken {
                return;
            }
        }
    }
}

/// One whole request; `None` when the client has ended.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    let known =
        ["", "\0", "Enabled", "PendingDeletion", "Sleeping", "key", "111122223333", "ThrottlingException", "true"];
    prop_oneof![
        2 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (1_usize..20_000).prop_map(|length| "x".repeat(length)),
    ]
}

/// Any JSON.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let numbers = vec![f64::MAX, f64::MIN, 1e18, -1e18, 253_402_300_800.0, -62_135_596_801.0, 0.5, -1.0];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(numbers).prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((text(), inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A good answer with values somewhere in it changed or taken away.
pub(crate) fn spoilt(good: Value) -> impl Strategy<Value = Value> {
    vec((any::<prop::sample::Index>(), prop::option::weighted(0.8, json())), 0..4).prop_map(move |changes| {
        let mut spoilt = good.clone();
        for (at, value) in changes {
            let mut places = Vec::new();
            pointers(&spoilt, "", &mut places);
            let place = at.get(&places).clone();
            let (parent, name) = place.rsplit_once('/').unwrap_or_default();
            let is_listed = matches!(spoilt.pointer(parent), Some(Value::Array(_)));
            if is_listed {
                if let Some(listed) = spoilt.pointer_mut(&place) {
                    *listed = value.unwrap_or(Value::Null);
                }
            } else if let Some(Value::Object(members)) = spoilt.pointer_mut(parent) {
                match value {
                    Some(value) => drop(members.insert(name.to_owned(), value)),
                    None => drop(members.remove(name)),
                }
            }
        }
        spoilt
    })
}

/// All places in it but the whole.
fn pointers(value: &Value, at: &str, places: &mut Vec<String>) {
    if !at.is_empty() {
        places.push(at.to_owned());
    }
    match value {
        Value::Object(members) => {
            // A name with a slash is no place that a pointer finds.
            for (name, value) in members.iter().filter(|(name, _)| !name.contains(['/', '~'])) {
                pointers(value, &format!("{at}/{name}"), places);
            }
        }
        Value::Array(list) => {
            for (place, value) in list.iter().enumerate() {
                pointers(value, &format!("{at}/{place}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    if places.is_empty() {
        places.push("/any".to_owned());
    }
}

/// Answers of all kinds around these bodies.
pub(crate) fn said(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Said> {
    let status = prop_oneof![
        4 => Just(200),
        3 => prop::sample::select(vec![201, 203, 226, 299, 301, 302, 400, 401, 403, 404, 413, 418, 429, 499, 500, 501, 503, 599]),
    ];
    let content_type =
        prop::sample::select(vec!["application/x-amz-json-1.1", "application/json", "text/html", "text/xml", ""]);
    let error_type = prop::option::weighted(0.2, "[A-Za-z#:/. ]{0,40}");
    (
        status,
        content_type,
        error_type,
        body,
        prop::bool::weighted(0.1),
        any::<prop::sample::Index>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(status, content_type, error_type, mut body, broken, cut, is_cut)| {
            if is_cut {
                body.truncate(cut.index(body.len() + 1));
            }
            Said { status, content_type, error_type, body, broken }
        })
}
