//! The program of `stacks/programs/services.toml` in Rust: the data and curator services, once for each environment.
//!
//! The binary has the whole command line of `epid`. Stacks say that they run it with `program = "../examples/services.rs"`.
//!
//! ```text
//! cargo run --example services -- preview --stack dev --sandbox
//! ```

use std::process::ExitCode;

use epid::program::builder::{Expr, ProgramBuilder};
use epid::{fields, text};

fn main() -> ExitCode {
    epid::run(services)
}

fn services(program: &ProgramBuilder) {
    let settings = Settings::of(program);
    let platform = program.stack("platform");
    // The only provider of its type is the one that resources take.
    program
        .provider("cluster", "kubernetes")
        .set("cluster", platform.get("cluster"));

    let data = program
        .resource("data", "epid:kubernetes:WebService")
        .set("name", text!("data-{}", settings.environment))
        .set(
            "image",
            text!("healthmapidha/dataservice:{}", settings.data_version),
        )
        .set(
            "labels",
            fields! { "app" => "data", "environment" => settings.environment },
        )
        .set(
            "secrets",
            fields! { "DB_CONNECTION" => settings.database_connection },
        );

    let curator = program
        .resource("curator", "epid:kubernetes:WebService")
        .set("name", text!("curator-{}", settings.environment))
        .set(
            "image",
            text!("healthmapidha/curatorservice:{}", settings.curator_version),
        )
        .set(
            "labels",
            fields! { "app" => "curator", "environment" => settings.environment },
        )
        .set("serviceType", &settings.curator_service)
        .set("env", fields! { "DATASERVER_URL" => data.get("url") })
        .set(
            "secrets",
            fields! { "OAUTH_CLIENT_SECRET" => settings.oauth_client_secret },
        )
        .set(
            "ingress",
            fields! { "class" => platform.get("ingressClass"), "scheme" => "internet-facing" },
        );

    program.output("url", curator.get("url"));
    program.output("dataUrl", data.get("url"));
}

/// The configuration that stacks give, by names that the compiler knows.
struct Settings {
    environment: Expr,
    data_version: Expr,
    curator_version: Expr,
    curator_service: Expr,
    database_connection: Expr,
    oauth_client_secret: Expr,
}

impl Settings {
    fn of(program: &ProgramBuilder) -> Self {
        Self {
            environment: program
                .config("environment")
                .describe("dev or prod: part of every name, and a label")
                .string(),
            data_version: program
                .config("dataVersion")
                .default("latest")
                .describe("The tag of healthmapidha/dataservice")
                .string(),
            curator_version: program
                .config("curatorVersion")
                .default("latest")
                .describe("The tag of healthmapidha/curatorservice")
                .string(),
            curator_service: program
                .config("curatorService")
                .default("NodePort")
                .describe("The type of the curator's Service: NodePort or ClusterIP")
                .string(),
            database_connection: program
                .config("databaseConnection")
                .secret()
                .describe("Where the data service finds its database, with the password")
                .string(),
            oauth_client_secret: program
                .config("oauthClientSecret")
                .secret()
                .describe("What the curator service proves itself with when people log in")
                .string(),
        }
    }
}
