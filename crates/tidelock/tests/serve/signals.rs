//! Another configuration while the server runs.

use std::fs;

use super::process::{CONFIG, Scratch, Serve};

#[test]
fn a_hangup_puts_another_configuration_in_force() {
    let scratch = Scratch::new();
    let path = scratch.configure("", "");
    let serve = Serve::start(&path);
    assert_eq!(serve.rest("PUT", "notes/a", "1").0, 201);
    let config = CONFIG.replace("SERVER", "").replace("DATABASE", "");
    let read_only = config.replace(r#"write = 'identity.sub != ""'"#, "write = 'false'");
    let reload = |text: &str, logged: &str| {
        fs::write(&path, text).unwrap();
        let before = serve.log().len();
        serve.signal("HUP");
        serve.until_logged(before, logged);
    };

    reload(&read_only, "the configuration is in force");
    assert_eq!(serve.rest("PUT", "notes/a", "2").0, 403);
    // Every mistake is named with its place, and what was in force stays.
    reload(
        &config.replace("write = ", "wirte = "),
        "tidelock.toml:14:1: databases.test.collections.notes.wirte: unknown key",
    );
    assert_eq!(serve.rest("PUT", "notes/a", "2").0, 403);
    reload(&config.replace("identity.sub != \"\"", "identity.sub ="), "CEL, at 1:");
    assert_eq!(serve.rest("PUT", "notes/a", "2").0, 403);
    reload(&config.replace("127.0.0.1:0", "127.0.0.1:1"), "keys=\"server.listen\"");
    assert_eq!(serve.rest("PUT", "notes/a", "2").0, 200, "the rest is in force");
    serve.stop();
}
