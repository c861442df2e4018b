//! Tokens: how they are got, and which are refused.

use anyhow::{Context, Result, ensure};
use end_to_end::caller::{BULKJOB, Caller, TOKENS};
use end_to_end::patience::until;
use end_to_end::{Answer, Keyfleet, Signal, StackSettings, scenarios};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

const SELF: &str = "/api/v1/auth/self/user";

#[tokio::test(flavor = "multi_thread")]
async fn callers_log_in() {
    // Two gateways: what one hands out, the other takes.
    let settings = StackSettings { gateways: 2, workers: 1, schedulers: 1, ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        a_password_gives_tokens_and_a_refresh_token_goes_on,
        clients_of_all_ages_log_in,
        a_wrong_login_is_refused,
        guessing_is_slowed_for_the_guesser_alone,
        a_token_is_needed_and_only_good_ones_are_taken,
        every_replica_takes_every_replica_s_tokens_also_after_a_restart,
        every_replica_refuses_a_session_that_was_revoked,
        a_login_needs_no_scheduler,
        old_http_is_spoken_as_well,
    );
}

async fn post(stack: &Keyfleet, body: &Value) -> Result<Answer> {
    stack.admin.bare(Method::POST, TOKENS).json(body).send().await
}

/// The claims of a token, read without checking it.
fn claims(token: &str) -> Result<Value> {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token).map(|token| token.claims).context("the token's claims")
}

async fn a_password_gives_tokens_and_a_refresh_token_goes_on(stack: &Keyfleet) -> Result<()> {
    let answer = stack.admin.log_in().await?.expect(200)?.body;
    assert_eq!((&answer["token_type"], &answer["duration"]), (&"Bearer".into(), &300.into()));
    let claims = claims(answer["jwt"].as_str().context("jwt")?)?;
    assert_eq!((&claims["iss"], &claims["acc"]), (&"kylo".into(), &"kylo".into()));
    ensure!(claims["sub"].as_str().is_some_and(|sub| sub.starts_with("local|")), "{claims}");
    assert_eq!(claims["cust"]["groups"], json!(["CCKM Admins"]));
    assert_eq!(claims["preferred_username"], stack.admin.user().name.as_str());
    for claim in ["aud", "jwtid", "iat", "exp"] {
        ensure!(!claims[claim].is_null(), "{claim} is not in {claims}");
    }

    let refresh_token = answer["refresh_token"].clone();
    let refreshed = post(stack, &json!({"grant_type": "refresh_token", "refresh_token": refresh_token})).await?;
    let refreshed = refreshed.expect(200)?.body;
    assert_eq!(refreshed["refresh_token"], refresh_token, "it stays the same");
    assert_eq!(refreshed["refresh_token_id"], answer["refresh_token_id"]);
    let token = refreshed["jwt"].as_str().context("jwt")?;
    with_token(stack, BULKJOB, &format!("Bearer {token}")).await?.expect(200)?;
    Ok(())
}

async fn clients_of_all_ages_log_in(stack: &Keyfleet) -> Result<()> {
    let user = stack.admin.user();
    let (name, password) = (&user.name, &user.password);
    for body in [
        json!({"username": name, "password": password}),
        json!({"name": name, "password": password, "connection": "local_account"}),
        json!({"grant_type": "password", "username": name, "password": password, "domain": "kylo"}),
        json!({"username": name, "password": password, "auth_domain": "kylo", "auth_domain_path": "", "labels": [1]}),
    ] {
        post(stack, &body).await?.expect(200)?;
    }
    let body = json!({"username": name, "password": password});
    for header in ["Bearer ", "Bearer nonsense", "Basic eDp5"] {
        let call = stack.admin.bare(Method::POST, TOKENS).header("Authorization", header).json(&body);
        call.send().await?.expect(200)?;
    }
    stack.admin.bare(Method::POST, &format!("{TOKENS}/")).json(&body).send().await?.expect(200)?;
    let keys = stack.admin.bare(Method::GET, "/api/v1/auth/jwks.json").send().await?.expect(200)?.body;
    ensure!(keys["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{keys}");
    ensure!(!keys.to_string().contains("\"d\""), "the private key is public");
    Ok(())
}

async fn a_wrong_login_is_refused(stack: &Keyfleet) -> Result<()> {
    let user = stack.stranger.user();
    let (name, password) = (&user.name, &user.password);
    for (body, field) in [
        (json!({}), "username"),
        (json!({"username": name}), "password"),
        (json!({"username": name, "password": ""}), "password"),
        (json!({"username": 7, "password": password}), "username"),
        (json!({"grant_type": "refresh_token"}), "refresh_token"),
        (json!({"grant_type": "magic", "username": name, "password": password}), "grant_type"),
    ] {
        post(stack, &body).await?.refuses(400, 2, field)?;
    }
    for body in [
        json!({"username": name, "password": "wrong"}),
        json!({"username": "e2e-nobody", "password": password}),
        json!({"username": name, "password": password, "domain": "kylo"}),
        json!({"grant_type": "refresh_token", "refresh_token": "nonsense"}),
    ] {
        post(stack, &body).await?.refuses(401, 5, "")?;
    }
    let text = stack.admin.bare(Method::POST, TOKENS).header("Content-Type", "application/json").body("{");
    text.send().await?.refuses(400, 2, "")?;
    Ok(())
}

async fn guessing_is_slowed_for_the_guesser_alone(stack: &Keyfleet) -> Result<()> {
    let guess = json!({"username": "e2e-mallory", "password": "guess"});
    let slowed = until("a guess to be slowed", async || {
        let answer = post(stack, &guess).await?;
        Ok((answer.status != 401).then_some(answer))
    });
    let slowed = slowed.await?;
    slowed.refuses(429, 7, "")?;
    ensure!(slowed.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "Retry-After");
    stack.admin.log_in().await?.expect(200)?;
    Ok(())
}

async fn with_token(stack: &Keyfleet, path: &str, authorization: &str) -> Result<Answer> {
    stack.admin.bare(Method::GET, path).header("Authorization", authorization).send().await
}

async fn a_token_is_needed_and_only_good_ones_are_taken(stack: &Keyfleet) -> Result<()> {
    let login = stack.admin.log_in().await?.expect(200)?.body;
    let good = login["jwt"].as_str().context("jwt")?;
    with_token(stack, BULKJOB, &format!("Bearer {good}")).await?.expect(200)?;
    let refresh = login["refresh_token"].as_str().context("refresh_token")?;

    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { anyhow::bail!("no JWT: {good}") };
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let damaged = format!("{head}.{body}.{first}{}", &signature[1..]);
    let key = std::fs::read(stack.parts.tls_file("token-key.pem")).context("the key that signs tokens")?;
    let key = EncodingKey::from_ec_pem(&key)?;
    let mut old = claims(good)?;
    old["iat"] = json!(1_600_000_000);
    old["exp"] = json!(1_600_000_300);
    // With the header of a good one, which names the key.
    let header = jsonwebtoken::decode_header(good)?;
    let expired = jsonwebtoken::encode(&header, &old, &key)?;
    let shared = EncodingKey::from_secret(b"secret");
    let weak = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(good)?, &shared)?;
    let mut foreign = claims(good)?;
    foreign["iss"] = json!("https://elsewhere.example");
    let foreign = jsonwebtoken::encode(&header, &foreign, &key)?;
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");

    for (what, authorization) in [
        ("nothing", String::new()),
        ("no token", "Bearer ".to_owned()),
        ("another scheme", format!("Basic {good}")),
        ("nonsense", "Bearer nonsense".to_owned()),
        ("a damaged signature", format!("Bearer {damaged}")),
        ("no signature", format!("Bearer {unsigned}")),
        ("an expired one", format!("Bearer {expired}")),
        ("another algorithm", format!("Bearer {weak}")),
        ("another issuer", format!("Bearer {foreign}")),
        ("a refresh token", format!("Bearer {refresh}")),
    ] {
        for path in [BULKJOB, "/api/v1/cckm/aws/templates"] {
            let answer = with_token(stack, path, &authorization).await?;
            answer.refuses(401, 5, "").map_err(|error| error.context(what))?;
        }
    }
    let order = json!({"operation": "enablekey", "keys": ["a"]});
    let call = stack.admin.bare(Method::POST, BULKJOB).json(&order);
    call.send().await?.refuses(401, 5, "")?;
    assert_eq!(stack.admin.total().await?, 0, "nothing is stored");
    Ok(())
}

async fn every_replica_takes_every_replica_s_tokens_also_after_a_restart(stack: &Keyfleet) -> Result<()> {
    let token = stack.admin.token().await?;
    let other = stack.admin.at(&stack.parts.urls()[1]);
    let ask =
        async || other.bare(Method::GET, BULKJOB).header("Authorization", &format!("Bearer {token}")).send().await;
    ask().await?.expect(200)?;
    stack.parts.restart("api-gateway-2").await?;
    ask().await?.expect(200)?;
    Ok(())
}

async fn every_replica_refuses_a_session_that_was_revoked(stack: &Keyfleet) -> Result<()> {
    let login = stack.nobody.log_in().await?.expect(200)?.body;
    let text = |field: &str| login[field].as_str().map(str::to_owned).context("a field of the login");
    let bearer = format!("Bearer {}", text("jwt")?);
    let replicas = [stack.parts.urls()[0].as_str(), stack.parts.urls()[1].as_str()].map(|url| stack.nobody.at(url));
    let ask = async |at: &Caller| at.bare(Method::GET, SELF).header("Authorization", &bearer).send().await;
    for at in &replicas {
        assert_eq!(ask(at).await?.expect(200)?.body["username"], json!(stack.nobody.user().name));
    }
    let path = format!("{TOKENS}/{}", text("refresh_token_id")?);
    replicas[0].bare(Method::DELETE, &path).header("Authorization", &bearer).send().await?.expect(204)?;
    ask(&replicas[0]).await?.refuses(401, 5, "revoked")?;
    let refused = until("the other gateway refuses it", async || {
        let answer = ask(&replicas[1]).await?;
        Ok((answer.status == 401).then_some(answer))
    });
    refused.await?.refuses(401, 5, "revoked")?;
    let body = json!({"grant_type": "refresh_token", "refresh_token": text("refresh_token")?});
    for at in &replicas {
        at.bare(Method::POST, TOKENS).json(&body).send().await?.refuses(401, 5, "")?;
    }
    Ok(())
}

async fn a_login_needs_no_scheduler(stack: &Keyfleet) -> Result<()> {
    let before = stack.admin.log_in().await?.expect(200)?.body;
    let refresh = json!({"grant_type": "refresh_token", "refresh_token": before["refresh_token"]});
    stack.parts.kill("job-scheduler-1", Signal::KILL)?;
    let login = stack.admin.log_in().await?.expect(200)?.body;
    assert!(login.get("refresh_token").is_none(), "{login}");
    let bearer = format!("Bearer {}", login["jwt"].as_str().context("jwt")?);
    with_token(stack, SELF, &bearer).await?.expect(200)?;
    post(stack, &refresh).await?.refuses(503, 8, "")?;
    stack.parts.restart("job-scheduler-1").await?;
    let again = until("the session goes on", async || {
        let answer = post(stack, &refresh).await?;
        Ok((answer.status != 503).then_some(answer))
    });
    assert_eq!(again.await?.expect(200)?.body["refresh_token"], before["refresh_token"]);
    Ok(())
}

async fn old_http_is_spoken_as_well(stack: &Keyfleet) -> Result<()> {
    let token = stack.admin.token().await?;
    let ca = reqwest::Certificate::from_pem(stack.parts.ca_pem().as_bytes())?;
    let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
    for (client, version) in [
        (client.http1_only().build()?, reqwest::Version::HTTP_11),
        (stack.parts.http_client()?, reqwest::Version::HTTP_2),
    ] {
        let answer = client.get(format!("{}{BULKJOB}", stack.parts.url())).bearer_auth(&token).send().await?;
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
    Ok(())
}
