//! Configurations: what is read, what is refused and how, and that the documentation lists every key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidelock_core::limits::Limits;
use tidelock_core::wire::{DeletePolicy, DocumentPolicy, FieldStrategy, Policy};
use toml::de::DeTable;

use super::reader::Source;
use super::{Algorithm, Config, LimitsConfig, Mode, Secret};
use crate::auth::Authenticator;
use crate::rules::Rules;

const DOCUMENTATION: &str = include_str!("../../../../docs/configuration.md");
const SECRET: &str = "b1c5a7f09e3d48216bd0e1c2f3a49586";
/// Three lines that every production configuration needs, before the lines of a test.
const AUTH: &str = "[auth]\nalgorithms = [\"HS256\"]\nsecret = \"b1c5a7f09e3d48216bd0e1c2f3a49586\"\n";
/// Two more.
const DATABASE: &str = "[databases.d]\npath = \"d\"\n";

/// The example of the documentation.
fn example() -> &'static str {
    let after = DOCUMENTATION.split_once("```toml\n").expect("an example").1;
    after.split_once("```").expect("its end").0
}

fn error(text: &str) -> String {
    Config::parse(text, "t.toml").expect_err(text).to_string()
}

/// The error of lines that follow `AUTH`: they start at line 4.
fn error_after_auth(lines: &str) -> String {
    error(&format!("{AUTH}{lines}"))
}

#[test]
fn the_documented_example_is_read_and_compiles() {
    let config = Config::parse(example(), "conf/tidelock.toml").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.server.public_origins, ["https://app.example.com"]);
    assert_eq!(config.auth.secret, Some(Secret::new(SECRET)));
    assert_eq!(config.auth.audience, ["board"]);
    let board = &config.databases["board"];
    assert_eq!(board.path, Path::new("conf/data/board.db"));
    let path = |text: &str| text.split('.').map(str::to_owned).collect();
    let expected = Policy {
        document: DocumentPolicy::Merge,
        field: FieldStrategy::LastWrite,
        fields: vec![
            (path("checklist"), FieldStrategy::List("id".to_owned())),
            (path("description"), FieldStrategy::Text),
            (path("history.*.reached"), FieldStrategy::Max),
            (path("labels"), FieldStrategy::Union),
            (path("votes"), FieldStrategy::Sum),
        ],
        delete: DeletePolicy::EditWins,
    };
    let mut policy = board.collections["cards"].policy.clone();
    policy.fields.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(policy, expected);
    Rules::compile(board, &config.identity).unwrap_or_else(|error| panic!("{error}"));
    assert!(Authenticator::new(&config.auth).is_ok());
}

#[test]
fn a_short_configuration_has_the_documented_defaults() {
    let config = Config::parse(&format!("{AUTH}{DATABASE}"), "t.toml").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:4860");
    assert_eq!(config.limits, LimitsConfig::default());
    assert_eq!(config.limits.protocol, Limits::default());
    assert_eq!((config.auth.leeway_s, config.auth.anonymous, config.auth.allow_no_expiry), (30, false, false));
    assert_eq!(config.databases["d"].path, PathBuf::from("d"));
    assert!(!config.databases["d"].open_collections);
}

#[test]
fn the_documentation_lists_every_key_with_its_default() {
    let table = DeTable::parse(example()).expect("TOML");
    let source = Source::new(example(), "t.toml");
    super::read(&source, table.get_ref(), Mode::Production);
    let asked = source.asked();
    assert!(asked.len() > 40, "{asked:?}");
    let rows: BTreeMap<String, &str> = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .filter(|(key, _)| key.contains('.') && !key.starts_with("identity.sub") && !key.starts_with("identity.claims"))
        .map(|(key, rest)| (key.to_owned(), rest))
        .collect();
    assert_eq!(asked.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>());
    for (key, default) in asked {
        if let Some(default) = default {
            assert!(rows[&key].contains(&format!(" | `{default}` | ")), "{key}: the default is {default}");
        }
    }
}

/// Lines after `AUTH`, and the error they give.
const WRONG_VALUES: &[(&str, &str)] = &[
    (
        "[limits]\nframe_bytes_max = \"4M\"",
        "t.toml:5:19: limits.frame_bytes_max: found the string \"4M\"; expected an integer number of bytes from 65536 to 67108864",
    ),
    (
        "[limits]\nkey_bytes_max = 1",
        "t.toml:5:17: limits.key_bytes_max: found the integer 1; expected an integer number of bytes from 64 to 8192",
    ),
    (
        "[limits]\nkey_bytes_max = 1e3",
        "t.toml:5:17: limits.key_bytes_max: found the number 1e3; expected an integer number of bytes from 64 to 8192",
    ),
    (
        "[limits]\nkey_bytes_max = -100",
        "t.toml:5:17: limits.key_bytes_max: found the integer -100; expected an integer number of bytes from 64 to 8192",
    ),
    (
        "[limits]\nconnections_max = 99999999999999999999",
        "t.toml:5:19: limits.connections_max: found the integer 99999999999999999999; expected an integer number of connections from 1 to 1000000",
    ),
    (
        "[limits]\nmutation_bytes_max = 65536",
        "t.toml:5:22: limits.mutation_bytes_max: `mutation_bytes_max` is 65536 and `document_bytes_max` is 1048576; expected a mutation to hold a document",
    ),
    (
        "[limits]\ndocument_bytes_max = 2097152",
        "t.toml:5:22: limits.document_bytes_max: `frame_bytes_max` is 4194304 and `document_bytes_max` is 2097152; expected a frame of three times as many bytes, which holds any change of a document",
    ),
    (
        "limits.x = 3",
        "t.toml:4:1: auth.limits: unknown key in [auth]; expected `algorithms`, `allow_no_expiry`, `anonymous`, `audience`, `issuer`, `jwks_file`, `leeway_s`, `public_key`, `public_key_file`, `secret` or `secret_file`",
    ),
    (
        "[server]\nlisten = 4860",
        "t.toml:5:10: server.listen: found the integer 4860; expected an IP address and a port, like \"127.0.0.1:4860\" or \"[::]:4860\"",
    ),
    (
        "[server]\nlisten = \"localhost\"",
        "t.toml:5:10: server.listen: found the string \"localhost\"; expected an IP address and a port, like \"127.0.0.1:4860\" or \"[::]:4860\"",
    ),
    (
        "[server]\nadmin_listen = \"127.0.0.1:4860\"\nlisten = \"127.0.0.1:4860\"",
        "t.toml:5:16: server.admin_listen: found 127.0.0.1:4860, which `server.listen` uses; expected another address",
    ),
    (
        "[server]\npublic_origins = \"x\"",
        "t.toml:5:18: server.public_origins: found the string \"x\"; expected origins, like [\"https://app.example.com\"]",
    ),
    ("[server.tls]\ncert = \"c.pem\"", "t.toml:4:1: server.tls: expected both `cert` and `key`"),
    (
        "[server]\nlissten = \"127.0.0.1:1\"",
        "t.toml:5:1: server.lissten: unknown key in [server]; expected `admin_listen`, `listen`, `public_origins` or `tls` (did you mean `listen`?)",
    ),
    (
        "[sever]",
        "t.toml:4:2: sever: unknown key; expected `auth`, `databases`, `identity`, `limits` or `server` (did you mean `server`?)",
    ),
    (
        "[identity]\nchannels = []",
        "t.toml:5:12: identity.channels: found an array; expected a CEL expression (a string)",
    ),
    (
        "[databases.d.collections.c]\nread = true",
        "t.toml:5:8: databases.d.collections.c.read: found `true`; expected a CEL expression (a string)",
    ),
    (
        "[databases.d.collections]\nc = 1",
        "t.toml:5:5: databases.d.collections.c: found the integer 1; expected a table ([databases.d.collections.c])",
    ),
    (
        "[databases.d.collections.c.conflict]\npolicy = \"merg\"",
        "t.toml:5:10: databases.d.collections.c.conflict.policy: found the string \"merg\"; expected `merge`, `last-write`, `first-write`, `newest`, `reject` or `resolver` (did you mean `merge`?)",
    ),
    (
        "[databases.d.collections.c.conflict]\ndelete = 1979-05-27",
        "t.toml:5:10: databases.d.collections.c.conflict.delete: found a date; expected `edit-wins` or `delete-wins`",
    ),
    (
        "[databases.d.collections.c.conflict.fields]\n\"a.b\" = \"som\"",
        "t.toml:5:9: databases.d.collections.c.conflict.fields.\"a.b\": found the string \"som\"; expected `last-write`, `first-write`, `newest`, `sum`, `min`, `max`, `union`, `text` or `reject`, or `{ list = \"id\" }` (did you mean `sum`?)",
    ),
    (
        "[databases.d.collections.c.conflict.fields]\na = { lst = \"id\" }",
        "t.toml:5:5: databases.d.collections.c.conflict.fields.a: found a table; expected `last-write`, `first-write`, `newest`, `sum`, `min`, `max`, `union`, `text` or `reject`, or `{ list = \"id\" }`",
    ),
    (
        "[databases.d.collections.c.conflict.fields]\n\"a..b\" = \"sum\"",
        "t.toml:5:10: databases.d.collections.c.conflict.fields.\"a..b\": expected member names joined by dots, like `\"address.city\"`; `*` stands for any one member",
    ),
    (
        "[databases.d.collections.c.conflict]\npolicy = \"reject\"\nfield = \"sum\"",
        "t.toml:4:1: databases.d.collections.c.conflict: `field` and `fields` are for the policy `merge`",
    ),
    (
        "[databases.d.collections.c]\nschema = 1",
        "t.toml:5:10: databases.d.collections.c.schema: found the integer 1; expected a JSON Schema: a table, or the path of a JSON file",
    ),
    (
        "[databases.d.collections.c]\nschema = { const = 1979-05-27 }",
        "t.toml:5:10: databases.d.collections.c.schema: found a date in a JSON Schema; expected JSON (a string?)",
    ),
    (
        "[databases.d.collections.\"a/b\"]",
        "t.toml:4:1: databases.d.collections.\"a/b\": expected a name of 1 to 128 bytes without `/` and control characters that does not begin with `_tl_`",
    ),
    (
        "[databases.d.collections._tl_state]",
        "t.toml:4:1: databases.d.collections._tl_state: expected a name of 1 to 128 bytes without `/` and control characters that does not begin with `_tl_`",
    ),
];

#[test]
fn wrong_values_are_named_with_place_and_expectation() {
    for (lines, expected) in WRONG_VALUES {
        let found = error_after_auth(&format!("{lines}\n{DATABASE}"));
        assert_eq!(found, *expected, "{lines}");
    }
}

const CLUSTER: &str = "[databases.d.cluster]\nkind = \"geode\"\naddresses = [\"a[1]\"]\nnode = \"n-1\"\n";

#[test]
fn a_database_may_be_on_a_platform() {
    let more = "scan_every_s = 60\nnames = { cards = \"/Cards\" }\noptions = { manager = \"http://m\" }\nuser = \"u\"\npassword = \"p\"\n";
    let config = Config::parse(&format!("{AUTH}{DATABASE}{CLUSTER}{more}"), "t.toml");
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let cluster = config.databases["d"].cluster.as_ref().expect("a cluster");
    assert_eq!((cluster.kind.as_str(), &cluster.addresses[..]), ("geode", &["a[1]".to_owned()][..]));
    assert_eq!((cluster.node.as_str(), cluster.user.as_deref()), ("n-1", Some("u")));
    assert_eq!((cluster.names["cards"].as_str(), cluster.option("manager")), ("/Cards", Some("http://m")));
    assert_eq!(cluster.scan_every_s, 60);
    assert!(!format!("{cluster:?}").contains("\"p\""), "{cluster:?}");
    assert!(cluster.check(&["geode"], &["manager"]).is_ok());
    assert_eq!(cluster.option_path("manager"), Some("http://m".into()));
    let unknown = cluster.check(&["geode"], &["managers"]).expect_err("an unknown option").to_string();
    let expected = "t.toml:12:23: databases.d.cluster.options.manager: unknown option for the kind \"geode\"; \
        expected `managers` (did you mean `managers`?)";
    assert_eq!(unknown, expected);
    let unknown = cluster.check(&["other"], &[]).expect_err("an unknown kind").to_string();
    assert_eq!(unknown, "t.toml:6:1: databases.d.cluster: `kind` is \"geode\"; expected `other`");
}

#[test]
fn a_platform_without_what_it_needs_is_refused() {
    let after = |lines: &str| error_after_auth(&format!("{DATABASE}[databases.d.cluster]\n{lines}"));
    let found = after("");
    for expected in ["expected `kind`", "expected `addresses`", "expected `node`"] {
        assert!(found.contains(expected), "{found}");
    }
    let found = after("kind = \"geode\"\naddresses = [\"a\"]\nnode = \"a b\"\nuser = \"u\"");
    assert!(found.contains("letters, digits") && found.contains("both `user` and `password`"), "{found}");
}

#[test]
fn columns_count_characters_and_keys_are_quoted() {
    let found =
        error_after_auth(&format!("{DATABASE}[databases.d.collections.\"für alle\"]\nread = \"ü\" \nwrit = 'é'"));
    assert_eq!(
        found,
        "t.toml:8:1: databases.d.collections.\"für alle\".writ: unknown key in [databases.d.collections.\"für alle\"]; expected \
         `channels`, `conflict`, `grant`, `read`, `schema` or `write` (did you mean `write`?)"
    );
    let found = error_after_auth("identity.channels = 1\nanonymous = \"ü\"  # ü");
    assert!(
        found.contains("t.toml:5:13: auth.anonymous: found the string \"ü\"; expected `true` or `false`"),
        "{found}"
    );
}

#[test]
fn every_problem_is_reported_in_the_order_of_the_file() {
    let found = error_after_auth("[server]\nlisten = 1\n[limits]\nx = 1\n[databases.d]\npth = 2");
    let lines: Vec<&str> = found.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(lines, ["t.toml:5:10", "t.toml:7:1", "t.toml:8:1", "t.toml:9:1"], "{found}");
}

#[test]
fn what_is_not_toml_is_named_with_its_place() {
    for (text, place) in [
        ("[server\n", "t.toml:1:8: not TOML: "),
        ("a = 1\na = 2\n", "t.toml:2:1: not TOML: "),
        ("\n\nx = \n", "t.toml:3:"),
    ] {
        assert!(error(text).starts_with(place), "{text:?}: {}", error(text));
    }
    let missing = Config::load(Path::new("no/such/file.toml")).expect_err("missing").to_string();
    assert!(missing.starts_with("no/such/file.toml: cannot be read: "), "{missing}");
}

#[test]
fn production_needs_authentication_and_a_database() {
    let found = error("");
    assert_eq!(
        found,
        "t.toml: auth: expected [auth] with `algorithms` and a key: the server accepts no unsigned tokens\n\
         t.toml: databases: expected at least one database, like [databases.board]"
    );
    let table = [
        ("[auth]\n", "t.toml:1:1: auth: expected `algorithms`, like `algorithms = [\"ES256\"]`"),
        ("[auth]\nalgorithms = []\n", "t.toml:1:1: auth: expected `algorithms`, like `algorithms = [\"ES256\"]`"),
        ("[auth]\nalgorithms = [\"HS256\"]\n", "t.toml:1:1: auth: `HS256` needs `secret` or `secret_file`"),
        (
            "[auth]\nalgorithms = [\"ES256\"]\n",
            "t.toml:1:1: auth: `ES256`, `EdDSA` and `RS256` need `public_key`, `public_key_file` or `jwks_file`",
        ),
        (
            "[auth]\nalgorithms = [\"none\"]\n",
            "t.toml:2:15: auth.algorithms: found the string \"none\"; expected `HS256`, `ES256`, `EdDSA` or `RS256`",
        ),
        (
            "[auth]\nalgorithms = [\"PS256\"]\n",
            "t.toml:2:15: auth.algorithms: found the string \"PS256\"; expected `HS256`, `ES256`, `EdDSA` or `RS256` (did you mean `ES256`?)",
        ),
        (
            "[auth]\nalgorithms = \"HS256\"\n",
            "t.toml:2:14: auth.algorithms: found the string \"HS256\"; expected a list of `HS256`, `ES256`, `EdDSA` or `RS256`",
        ),
        (
            "[auth]\nalgorithms = [\"ES256\", \"EdDSA\"]\npublic_key = \"x\"\n",
            "t.toml:3:14: auth.public_key: a public key is for one algorithm; expected `algorithms` to name `ES256`, `EdDSA` or `RS256`",
        ),
        (
            "[auth]\nalgorithms = [\"HS256\"]\nsecret = 12345\n",
            "t.toml:3:10: auth.secret: found integer; expected a string",
        ),
        (
            "[auth]\nalgorithms = [\"HS256\"]\nsecret_file = \"no/such\"\n",
            "t.toml:3:15: auth.secret_file: no/such cannot be read: ",
        ),
    ];
    for (text, expected) in table {
        let found = error(&format!("{text}{DATABASE}"));
        assert!(found.starts_with(expected), "{text}: {found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn weak_secrets_are_refused_without_being_shown() {
    for secret in [
        "",
        "secret",
        "changeme",
        "0123456789abcdef0123456789abcde",
        "your-256-bit-secret-your-256-bit-secret",
        "change-me-change-me-change-me-change-me",
        "SuperSecretSuperSecretSuperSecret"[..32].replace("Super", "Secret").as_str(),
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "abababababababababababababababababababab",
        "this-is-the-default-secret-please-replace-me",
        "passwordpasswordpasswordpassword",
    ] {
        let text = format!("[auth]\nalgorithms = [\"HS256\"]\nsecret = \"{secret}\"\n{DATABASE}");
        let found = error(&text);
        assert!(found.starts_with("t.toml:3:10: auth.secret: the secret "), "{secret}: {found}");
        assert!(found.contains("random bytes"), "{found}");
        assert!(secret.is_empty() || secret == "secret" || !found.contains(secret), "{found}");
    }
    for secret in [SECRET, "kJ8s+2Qm/0vX5tYbN7eRzLw4uGhPcA1d", "correct horse battery staple, and seven more words"] {
        let text = format!("[auth]\nalgorithms = [\"HS256\"]\nsecret = \"{secret}\"\n{DATABASE}");
        let config = Config::parse(&text, "t.toml").unwrap_or_else(|error| panic!("{error}"));
        assert!(!format!("{config:?}").contains(secret), "no log shows a secret");
    }
}

#[test]
fn a_secret_for_an_algorithm_that_is_not_allowed_is_refused() {
    let found =
        error(&format!("[auth]\nalgorithms = [\"ES256\"]\npublic_key = \"x\"\nsecret = \"{SECRET}\"\n{DATABASE}"));
    assert_eq!(found, "t.toml:4:10: auth.secret: found a secret, but `algorithms` does not name `HS256`");
}

#[test]
fn origins_are_exact() {
    let origins =
        |origin: &str| Config::parse(&format!("{AUTH}[server]\npublic_origins = [\"{origin}\"]\n{DATABASE}"), "t.toml");
    for good in ["https://app.example.com", "http://localhost:5173", "https://[::1]:8443", "capacitor://localhost"] {
        assert_eq!(origins(good).unwrap_or_else(|error| panic!("{error}")).server.public_origins, [good]);
    }
    for bad in [
        "*",
        "null",
        "",
        "https://",
        "app.example.com",
        "https://app.example.com/",
        "https://*.example.com",
        "https://App.example.com",
        "https://user@example.com",
        "https://example.com?x",
        "https://example.com:443",
        "http://example.com:80",
        "https://a b",
    ] {
        let found = origins(bad).expect_err(bad).to_string();
        assert!(found.starts_with("t.toml:5:19: server.public_origins: found the string "), "{bad}: {found}");
    }
}

#[test]
fn files_beside_the_configuration_are_read() {
    let directory = std::env::temp_dir().join(format!("tidelock-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    std::fs::write(directory.join("secret"), format!("{SECRET}\n")).expect("written");
    std::fs::write(directory.join("card.json"), "{\"type\": \"object\"}").expect("written");
    std::fs::write(directory.join("bad.json"), "{").expect("written");
    let text = |schema: &str| {
        format!(
            "[auth]\nalgorithms = [\"HS256\"]\nsecret_file = \"secret\"\n{DATABASE}[databases.d.collections.c]\nschema = \"{schema}\"\n"
        )
    };
    let file = directory.join("tidelock.toml");
    std::fs::write(&file, text("card.json")).expect("written");
    let good = Config::load(&file);
    let bad = Config::parse(&text("bad.json"), &file.to_string_lossy());
    std::fs::remove_dir_all(&directory).expect("removed");
    let config = good.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.auth.secret, Some(Secret::new(SECRET)), "without the line end");
    let schema = config.databases["d"].collections["c"].schema.as_ref().expect("a schema");
    assert_eq!(schema.value, serde_json::json!({"type": "object"}));
    let found = bad.expect_err("not JSON").to_string();
    assert!(
        found.contains(":7:10: databases.d.collections.c.schema: ") && found.contains("bad.json is not JSON: "),
        "{found}"
    );
}

#[test]
fn open_collections_are_for_development_only() {
    let lines = "[databases.d]\npath = \"d\"\nopen_collections = true\n";
    assert_eq!(
        error_after_auth(lines),
        "t.toml:6:20: databases.d.open_collections: found `true`, which only `tidelock dev` allows; expected each collection to be \
         configured"
    );
    let config = Config::parse_dev(lines, "t.toml").unwrap_or_else(|error| panic!("{error}"));
    assert!(config.databases["d"].open_collections);
    assert!(config.auth.secret.is_some(), "drawn, as there is no [auth]");
}

#[test]
fn development_needs_no_file() {
    let config = Config::dev(Path::new("data"), &["notes"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.server.listen.ip().is_loopback());
    assert_eq!(config.databases.keys().collect::<Vec<_>>(), ["board", "notes"]);
    assert_eq!(config.databases["board"].path, Path::new("data").join("board.db"));
    assert_eq!(config.databases["notes"].path, Path::new("data").join("notes.db"));
    let board = Rules::compile(&config.databases["board"], &config.identity).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(board.collections().map(|(name, _)| name).collect::<Vec<_>>(), ["cards", "labels", "lists"]);
    assert!(board.collection("other").is_none());
    let notes = Rules::compile(&config.databases["notes"], &config.identity).unwrap_or_else(|error| panic!("{error}"));
    assert!(notes.collection("anything").is_some());
    // Its tokens are its own.
    let authenticator = Authenticator::new(&config.auth).unwrap_or_else(|error| panic!("{error}"));
    let token = authenticator.mint("ann", &serde_json::Map::new(), 60, 0).expect("has a secret");
    let ann = authenticator.authenticate(&token, 0).expect("its own token");
    assert!(board.collection("cards").expect("configured").may_read(&ann));
    let other = Config::dev(Path::new("data"), &[]).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        Authenticator::new(&other.auth).is_ok_and(|other| other.authenticate(&token, 0).is_err()),
        "a fresh secret"
    );
    assert!(Config::dev(Path::new("data"), &["../x"]).is_err());
}

#[test]
fn every_algorithm_has_a_name() {
    let named: Vec<Algorithm> = Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect();
    assert_eq!(named, [Algorithm::Hs256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256]);
}
