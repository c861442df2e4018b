//! A stack in which all parts speak TLS to one another, logging as much as it can: jobs run and stop as ever, what was called is
//! in the audit trail, and no secret is in any log.

use anyhow::{Context as _, Result, ensure};
use dev_stack::Wire;
use end_to_end::{Keyfleet, ServersFrom, StackSettings, patience::until, scenarios, verdict};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_secured() {
    let settings = StackSettings {
        quota: "off".to_owned(),
        servers: ServersFrom::Own,
        to_servers: Wire::Tls,
        ..StackSettings::default()
    };
    let settings = ["job-scheduler", "kms-worker", "api-gateway"]
        .into_iter()
        .fold(settings, |settings, service| settings.with_env(service, "LOG", "trace"));
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        jobs_run_and_stop_by_tls_alone,
        the_audit_trail_says_who_did_what,
        no_secret_is_in_any_log,
    );
}

async fn jobs_run_and_stop_by_tls_alone(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(200, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await?;
    let job = stack.create("disablekey", &keys).await?;
    job.cancel().await?.expect(200)?;
    // The test's own query is one of them.
    let plain = stack.parts.query(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE backend_type = 'client backend' AND NOT ssl",
    )?;
    ensure!(plain.trim() == "0", "{plain} connections to Postgres are not encrypted");
    ensure!(stack.parts.amqp_url().starts_with("amqps://"));
    Ok(())
}

async fn the_audit_trail_says_who_did_what(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(1, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?;
    job.cancel().await?.expect(200)?;
    job.seen_by(&stack.nobody).cancel().await?.expect(403)?;
    let path = job.path("/cancel");
    let rows = until("the audit trail to tell of the cancels", async || {
        let rows = stack.parts.query(&format!(
            "SELECT username, tenant, method, status, address FROM audit_log WHERE path = '{path}' ORDER BY at"
        ))?;
        Ok((rows.lines().count() == 2).then_some(rows))
    })
    .await?;
    let (admin, nobody) = (&stack.admin.user().name, &stack.nobody.user().name);
    let expected = format!("{admin}|kylo:kylo|POST|200|127.0.0.1\n{nobody}|kylo:kylo|POST|403|127.0.0.1");
    ensure!(rows.trim() == expected, "{rows}");
    Ok(())
}

async fn no_secret_is_in_any_log(stack: &Keyfleet) -> Result<()> {
    let login = stack.admin.log_in().await?.expect(200)?;
    let told = |field: &str| login.body[field].as_str().map(ToOwned::to_owned).context("a login's answer");
    let password_of = |url: &str| -> Result<String> {
        let (_, rest) = url.split_once("://").context("a URL")?;
        let (user, _) = rest.split_once('@').context("a URL with a user")?;
        Ok(user.split_once(':').context("a user with a password")?.1.to_owned())
    };
    let refused = stack.admin.call(reqwest::Method::GET, "/api/v1/cckm/aws/bulkjob/none").send().await?;
    ensure!(refused.status == 404);
    let secrets = [
        ("the access token", told("jwt")?),
        ("the token in use", stack.admin.token().await?),
        ("the refresh token", told("refresh_token")?),
        ("the user's password", stack.admin.user().password.clone()),
        ("the database's password", password_of(stack.parts.database_url())?),
        ("the broker's password", password_of(stack.parts.amqp_url())?),
        ("the AWS secret", "development-only".to_owned()),
        ("a private key", "PRIVATE KEY".to_owned()),
    ];
    for part in stack.parts.names() {
        let log = stack.parts.log(part);
        for (what, secret) in &secrets {
            if let Some(line) = log.lines().find(|line| line.contains(secret.as_str())) {
                let shown: String = line.replace(secret.as_str(), "<it>").chars().take(300).collect();
                anyhow::bail!("{what} is in the log of {part}: {shown}");
            }
        }
        ensure!(!log.is_empty(), "{part} has logged nothing");
    }
    Ok(())
}
