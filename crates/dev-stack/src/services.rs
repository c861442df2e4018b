//! Keyfleet's services as parts: which there are, on which ports, and with which environment.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use crate::memory::Memory;
use crate::part::{Kind, Part};
use crate::process::Program;
use crate::servers::{Servers, Wire, base_env};
use crate::settings::StackSettings;
use crate::site::Site;
use crate::tls;

/// Settings of the caller that every service gets as they are.
const PASSED_ON: [&str; 5] = ["LOG", "LOG_FORMAT", "RUST_BACKTRACE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// All services, and where they are reached.
#[derive(Debug)]
pub(crate) struct Services {
    /// In the order in which they are told about.
    pub parts: Vec<Part>,
    /// The gateways, `https://127.0.0.1:<port>`.
    pub urls: Vec<String>,
    /// The KMS end the workers call.
    pub kms_endpoint: String,
}

/// Gives out ports and puts the parts together.
struct Planner<'a> {
    site: &'a Site,
    memory: &'a mut Memory,
    settings: &'a StackSettings,
    parts: Vec<Part>,
}

/// Plans all services of a stack over running servers.
///
/// # Errors
/// When a port that was asked for is taken.
pub(crate) fn plan(site: &Site, memory: &mut Memory, settings: &StackSettings, servers: &Servers) -> Result<Services> {
    let mut planner = Planner { site, memory, settings, parts: Vec::new() };
    let kms_endpoint = match &settings.kms_endpoint {
        Some(given) => given.clone(),
        None => planner.kms_sim()?,
    };
    let schedulers = planner.schedulers(servers)?;
    planner.workers(servers, &schedulers, &kms_endpoint)?;
    let urls = planner.gateways(servers, &schedulers)?;
    Ok(Services { parts: planner.parts, urls, kms_endpoint })
}

impl Planner<'_> {
    fn kms_sim(&mut self) -> Result<String> {
        let listen = self.listen("kms-sim")?;
        let (account, region) = self.account_and_region();
        let env = [
            ("LISTEN", listen.clone()),
            ("KEYFLEET_QUOTA", self.settings.quota.clone()),
            ("AWS_ACCOUNT_ID", account),
            ("AWS_REGION", region),
        ];
        self.service("kms-sim", "kms-sim", env)?;
        Ok(format!("http://{listen}"))
    }

    /// The schedulers' names and gRPC URLs.
    fn schedulers(&mut self, servers: &Servers) -> Result<Vec<(String, String)>> {
        let (account, region) = self.account_and_region();
        let mut schedulers = Vec::new();
        for number in 1..=self.settings.schedulers {
            let name = format!("job-scheduler-{number}");
            let listen = self.listen(&name)?;
            let mut env = self.amqp_ca(servers);
            let scheme = match self.settings.to_schedulers {
                Wire::Plain => "http",
                Wire::Tls => {
                    env.extend([
                        ("GRPC_TLS_CERT", self.tls_file(tls::INTERNAL_CERT)),
                        ("GRPC_TLS_KEY", self.tls_file(tls::INTERNAL_KEY)),
                        ("GRPC_TLS_CLIENT_CA", self.tls_file(tls::INTERNAL_CA)),
                    ]);
                    "https"
                }
            };
            schedulers.push((name.clone(), format!("{scheme}://{listen}")));
            env.extend([
                ("GRPC_LISTEN", listen),
                ("DATABASE_URL", self.via(&name, "postgres", &servers.database_url)),
                ("AMQP_URL", self.via(&name, "rabbitmq", &servers.amqp_url)),
                ("KEYFLEET_QUOTA", self.settings.quota.clone()),
                ("AWS_ACCOUNT_ID", account.clone()),
                ("AWS_REGION", region.clone()),
            ]);
            self.service(&name, "job-scheduler", env)?;
        }
        Ok(schedulers)
    }

    /// The schedulers as `name` reaches them, comma-separated.
    fn scheduler_urls(&self, name: &str, schedulers: &[(String, String)]) -> String {
        let urls: Vec<String> = schedulers.iter().map(|(scheduler, url)| self.via(name, scheduler, url)).collect();
        urls.join(",")
    }

    /// The URL of what is called, as `name` is to call it.
    fn via(&self, name: &str, called: &str, url: &str) -> String {
        match self.settings.routes.get(&(name.to_owned(), called.to_owned())) {
            Some(relay) => crate::relay::at(url, *relay),
            None => url.to_owned(),
        }
    }

    fn workers(&mut self, servers: &Servers, schedulers: &[(String, String)], kms_endpoint: &str) -> Result<()> {
        for number in 1..=self.settings.workers {
            let name = format!("kms-worker-{number}");
            let mut env: BTreeMap<&str, String> =
                self.settings.aws.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
            env.extend([
                ("AMQP_URL", self.via(&name, "rabbitmq", &servers.amqp_url)),
                ("SCHEDULER_URLS", self.scheduler_urls(&name, schedulers)),
                ("AWS_ENDPOINT_URL_KMS", self.via(&name, "kms-sim", kms_endpoint)),
                // Profiles and single sign-on are looked up below it.
                ("HOME", std::env::var("HOME").unwrap_or_default()),
            ]);
            if self.settings.kms_endpoint.is_none() {
                // The simulator's roles are assumed where its keys are.
                env.entry("AWS_ENDPOINT_URL_STS").or_insert_with(|| self.via(&name, "kms-sim", kms_endpoint));
            }
            env.extend(self.amqp_ca(servers));
            env.extend(self.scheduler_tls());
            self.service(&name, "kms-worker", env)?;
        }
        Ok(())
    }

    fn gateways(&mut self, servers: &Servers, schedulers: &[(String, String)]) -> Result<Vec<String>> {
        let (cert, key, token_key) = (self.tls_file(tls::CERT), self.tls_file(tls::KEY), self.tls_file(tls::TOKEN_KEY));
        let users = self.site.users_file().display().to_string();
        let mut urls = Vec::new();
        for number in 1..=self.settings.gateways {
            let name = if number == 1 { "api-gateway".to_owned() } else { format!("api-gateway-{number}") };
            let listen = self.listen(&name)?;
            urls.push(format!("https://{listen}"));
            let mut env = self.amqp_ca(servers);
            env.extend(self.scheduler_tls());
            env.extend([
                ("LISTEN", listen),
                ("TLS_CERT", cert.clone()),
                ("TLS_KEY", key.clone()),
                ("TOKEN_KEY_FILE", token_key.clone()),
                ("USERS_FILE", users.clone()),
                ("AMQP_URL", self.via(&name, "rabbitmq", &servers.amqp_url)),
                ("SCHEDULER_URLS", self.scheduler_urls(&name, schedulers)),
            ]);
            self.service(&name, "api-gateway", env)?;
        }
        Ok(urls)
    }

    fn tls_file(&self, name: &str) -> String {
        self.site.tls(name).display().to_string()
    }

    /// How a caller of the schedulers knows them and shows who it is.
    fn scheduler_tls(&self) -> Vec<(&'static str, String)> {
        match self.settings.to_schedulers {
            Wire::Plain => Vec::new(),
            Wire::Tls => vec![
                ("SCHEDULER_TLS_CA", self.tls_file(tls::INTERNAL_CA)),
                ("SCHEDULER_TLS_CERT", self.tls_file(tls::INTERNAL_CERT)),
                ("SCHEDULER_TLS_KEY", self.tls_file(tls::INTERNAL_KEY)),
            ],
        }
    }

    /// How a broker that speaks TLS is known.
    fn amqp_ca(&self, servers: &Servers) -> BTreeMap<&'static str, String> {
        servers.amqp_ca.iter().map(|ca| ("AMQP_CA", ca.display().to_string())).collect()
    }

    fn account_and_region(&self) -> (String, String) {
        let aws = |key: &str| self.settings.aws.get(key).cloned().unwrap_or_default();
        (aws("AWS_ACCOUNT_ID"), aws("AWS_REGION"))
    }

    /// The port a service is called on: `<NAME>_PORT` when set, else the one it had, else a free one.
    fn listen(&mut self, name: &str) -> Result<String> {
        let fixed = self.settings.given.ports.get(name).copied();
        Ok(format!("127.0.0.1:{}", self.memory.port(name, fixed)?))
    }

    fn service<'e>(&mut self, name: &str, kind: &str, own: impl IntoIterator<Item = (&'e str, String)>) -> Result<()> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.memory.port(&format!("{name} admin"), None)?));
        let mut env = base_env();
        env.extend(PASSED_ON.iter().filter_map(|key| Some(((*key).to_owned(), std::env::var(key).ok()?))));
        env.insert("ADMIN_LISTEN".to_owned(), addr.to_string());
        env.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
        for extra in [kind, name].iter().filter_map(|key| self.settings.env.get(*key)) {
            env.extend(extra.clone());
        }
        self.parts.push(Part {
            name: name.to_owned(),
            kind: Kind::Service,
            program: Program {
                exe: self.settings.bin_dir.join(kind),
                args: Vec::new(),
                env,
                account: None,
                dir: self.site.root().to_owned(),
            },
            addr,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(settings: &StackSettings) -> (Services, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::open(dir.path()).unwrap();
        let servers =
            Servers { database_url: "postgres://d".into(), amqp_url: "amqp://a".into(), ..Servers::default() };
        (plan(&site, &mut Memory::default(), settings, &servers).unwrap(), dir)
    }

    #[test]
    fn names_and_counts_are_those_of_the_settings() {
        let settings = StackSettings { workers: 1, schedulers: 2, gateways: 2, ..StackSettings::default() };
        let (services, _dir) = plan_of(&settings);
        let names: Vec<&str> = services.parts.iter().map(|part| part.name.as_str()).collect();
        let expected =
            ["kms-sim", "job-scheduler-1", "job-scheduler-2", "kms-worker-1", "api-gateway", "api-gateway-2"];
        assert_eq!(names, expected);
        assert_eq!(services.urls.len(), 2);
        let worker = &services.parts[3].program.env;
        assert_eq!(worker["SCHEDULER_URLS"].split(',').count(), 2);
        assert_eq!(worker["AWS_ENDPOINT_URL_KMS"], services.kms_endpoint);
        assert_eq!(worker["AWS_ENDPOINT_URL_STS"], services.kms_endpoint);
    }

    #[test]
    fn a_given_kms_end_replaces_the_simulator() {
        let settings = StackSettings { kms_endpoint: Some("http://kms.test".into()), ..StackSettings::default() };
        let (services, _dir) = plan_of(&settings);
        assert!(services.parts.iter().all(|part| part.name != "kms-sim"));
        assert_eq!(services.kms_endpoint, "http://kms.test");
        let worker = services.parts.iter().find(|part| part.name == "kms-worker-1").unwrap();
        assert!(!worker.program.env.contains_key("AWS_ENDPOINT_URL_STS"), "AWS's own");
    }

    #[test]
    fn a_route_is_taken_by_the_service_it_is_for() {
        let relay = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let mut settings = StackSettings::default();
        for called in ["rabbitmq", "job-scheduler-2", "kms-sim"] {
            settings.routes.insert(("kms-worker-2".to_owned(), called.to_owned()), relay);
        }
        let (services, _dir) = plan_of(&settings);
        let env = |name: &str, key: &str| {
            let part = services.parts.iter().find(|part| part.name == name).unwrap();
            part.program.env[key].clone()
        };
        assert_eq!(env("kms-worker-2", "AMQP_URL"), "amqp://127.0.0.1:7");
        assert_eq!(env("kms-worker-2", "AWS_ENDPOINT_URL_KMS"), "http://127.0.0.1:7");
        let schedulers = env("kms-worker-2", "SCHEDULER_URLS");
        assert!(schedulers.ends_with(",https://127.0.0.1:7") && schedulers.matches(":7").count() == 1, "{schedulers}");
        assert_eq!(env("kms-worker-1", "AMQP_URL"), "amqp://a");
        assert_eq!(env("api-gateway", "AMQP_URL"), "amqp://a");
    }

    #[test]
    fn extra_environment_of_a_name_wins_over_its_kinds() {
        let settings = StackSettings::default().with_env("kms-worker", "CONCURRENCY", "8").with_env(
            "kms-worker-2",
            "CONCURRENCY",
            "1",
        );
        let (services, _dir) = plan_of(&settings);
        let concurrency = |name: &str| {
            let part = services.parts.iter().find(|part| part.name == name).unwrap();
            part.program.env.get("CONCURRENCY").cloned()
        };
        assert_eq!(concurrency("kms-worker-1").as_deref(), Some("8"));
        assert_eq!(concurrency("kms-worker-2").as_deref(), Some("1"));
        assert_eq!(concurrency("api-gateway"), None);
    }
}
