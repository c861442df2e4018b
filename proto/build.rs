//! Compiles the `.proto` files with protox, so that no `protoc` need be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "keyfleet/audit/v1/audit.proto",
            "keyfleet/auth/v1/auth.proto",
            "keyfleet/estate/v1/containers.proto",
            "keyfleet/estate/v1/keys.proto",
            "keyfleet/jobs/v1/jobs.proto",
            "keyfleet/messages/v1/messages.proto",
            "keyfleet/workers/v1/workers.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
