//! A cluster whose locator and servers speak TLS to their clients, and ask who they are. It does not suit Tidelock otherwise.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_geode_client::tls::Tls;
use tidelock_geode_client::{Address, Client, Config, Error, Event, Interest, Key, Subscribe, Value};
use tidelock_geode_cluster::{Cluster, Regions};

use crate::subscriptions::{next, next_change};
use crate::support::cluster;

const PASSWORD: &str = "changeit-please";
const CERTIFICATE: &str = "client.pem";
const KEY: &str = "client.key";
const ROOT: &str = "ca.pem";
/// To Geode's simple security manager a user's name is his password, and says what he may do.
const USER: &str = "data,cluster";

fn keytool(words: &[&str]) {
    let output = Command::new("keytool").args(words).args(["-storetype", "PKCS12", "-storepass", PASSWORD]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Makes a key with its certificate for this machine; answers the store for Java.
fn key_store(folder: &Path, name: &str) -> String {
    let store = folder.join(format!("{name}.p12")).display().to_string();
    let certificate = folder.join(format!("{name}.pem")).display().to_string();
    let names = "san=ip:127.0.0.1,dns:localhost";
    keytool(&[
        "-genkeypair",
        "-alias",
        "one",
        "-keyalg",
        "EC",
        "-dname",
        "CN=localhost",
        "-ext",
        names,
        "-keystore",
        &store,
    ]);
    keytool(&["-exportcert", "-rfc", "-alias", "one", "-file", &certificate, "-keystore", &store]);
    store
}

/// A client's certificate and key, and the root that it is under.
fn key_of_client(name: &str) -> String {
    format!("{}/../couchbase-double/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn config(cluster: &Cluster, roots: &Path) -> Config {
    let mut config = Config::with_locator(Address::new("127.0.0.1", cluster.locator_port()));
    let [certificate, key] = [CERTIFICATE, KEY].map(|name| fs::read(key_of_client(name)).unwrap());
    config.tls = Some(Tls::with_pem(&fs::read(roots).unwrap(), Some((&certificate, &key))).unwrap());
    config.user(USER, USER)
}

/// A user who may read but one entry of Tidelock's state.
const USER_OF_KEYS: &str = "datawrite,datamanage,cluster,datareaddocs,datareadcopies,datareadrouted,dataread_tl_clients,dataread_tl_intents,dataread_tl_conflicts,dataread_tl_state~probe";

/// What `tidelock doctor` says to this user with this password, and these options.
fn doctor(cluster: &Cluster, folder: &Path, (user, password): (&str, &str), options: &str) -> String {
    let binary = std::env::var_os("TIDELOCK_BIN").expect("TIDELOCK_BIN names the server's binary");
    let config = folder.join("tidelock.toml");
    let text = format!(
        "[auth]\nalgorithms = [\"HS256\"]\nsecret = \"0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931\"\n\
         [databases.app]\npath = \"app.db\"\n\
         [databases.app.cluster]\nkind = \"geode\"\naddresses = [\"{}\"]\nnode = \"tls\"\nuser = \"{user}\"\npassword_file = \"password\"\noptions = {{ {options} }}\n\
         [databases.app.collections.docs]\n\
         [databases.app.collections.copies]\n\
         [databases.app.collections.routed]\n",
        cluster.locator()
    );
    fs::write(&config, text).unwrap();
    let secret = folder.join("password");
    fs::write(&secret, password).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let output = Command::new(binary).arg("doctor").arg("--config").arg(config).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Starts the cluster; answers it, and the folder with the keys and certificates.
fn start() -> (Cluster, PathBuf) {
    let plain = cluster();
    let folder = plain.folder().join("tls");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let store = key_store(&folder, "server");
    key_store(&folder, "stranger");
    keytool(&["-importcert", "-noprompt", "-alias", "clients", "-file", &key_of_client(ROOT), "-keystore", &store]);
    let properties = [
        "ssl-enabled-components=server,locator".to_owned(),
        format!("ssl-keystore={store}"),
        format!("ssl-truststore={store}"),
        "ssl-keystore-type=PKCS12".to_owned(),
        "ssl-truststore-type=PKCS12".to_owned(),
        format!("ssl-keystore-password={PASSWORD}"),
        format!("ssl-truststore-password={PASSWORD}"),
        "ssl-require-authentication=true".to_owned(),
        "ALLOW_PERSISTENT_TRANSACTIONS=false".to_owned(),
        "security-manager=org.apache.geode.examples.SimpleSecurityManager".to_owned(),
        // Of the servers, to each other.
        "security-username=cluster".to_owned(),
        "security-password=cluster".to_owned(),
    ];
    let properties: Vec<&str> = properties.iter().map(String::as_str).collect();
    let artifacts = plain.artifacts().clone();
    let cluster = Cluster::start(&artifacts, &folder.join("cluster"), Regions::Unsuited, &properties).unwrap();
    (cluster, folder)
}

#[tokio::test]
async fn requests_and_events_go_over_tls_to_who_is_trusted() {
    let (cluster, folder) = start();
    let trusted = config(&cluster, &folder.join("server.pem"));
    let (client, listener) = (Client::connect(trusted.clone()).await.unwrap(), Client::connect(trusted).await.unwrap());
    let interests = vec![Interest::all("docs")];
    let subscribe = Subscribe { redundancy: 1, interests, ..Subscribe::default() };
    let mut subscription = listener.subscribe(subscribe).await.unwrap();
    assert!(matches!(next(&mut subscription).await, Event::Lost(_)));
    let docs = client.region("docs");
    let key = Key::from("tls");
    let text = Value::string(&"x".repeat(200_000));
    docs.put(&key, &text).await.unwrap();
    assert_eq!(docs.get(&key).await.unwrap().value(), Some(&text));
    let change = next_change(&mut subscription).await;
    assert_eq!(change.key, key);
    assert_eq!(change.value.as_ref(), Some(&text));

    let identity = format!("certificate_file = {:?}, key_file = {:?}", key_of_client(CERTIFICATE), key_of_client(KEY));
    let known = format!("ca_file = \"server.pem\", {identity}");
    let complaints = doctor(&cluster, &folder, (USER, USER), &known);
    assert!(complaints.contains("wrong: transactions on /_tl_clients do not work"), "{complaints}");
    assert!(complaints.contains("ALLOW_PERSISTENT_TRANSACTIONS=true"), "{complaints}");
    assert!(complaints.contains("wrong: JSON documents cannot be stored"), "{complaints}");
    assert!(complaints.contains("configure pdx --read-serialized=true --disk-store=DEFAULT"), "{complaints}");
    let apart = "wrong: collection copies: /copies_tl is not colocated with /copies\n";
    assert!(complaints.contains(apart), "{complaints}");
    assert!(complaints.contains("create it again as /copies is, which is not partitioned"), "{complaints}");
    assert!(!complaints.contains("/docs_tl"), "{complaints}");
    let class = "org.apache.geode.cache.util.StringPrefixPartitionResolver";
    let routed = format!("/routed and /routed_tl have different partition resolvers, the class {class} and none\n");
    assert!(complaints.contains(&routed), "{complaints}");
    let again = format!("with --colocated-with=/routed --total-num-buckets=7 --partition-resolver={class}\n");
    assert!(complaints.contains(&again), "{complaints}");
    let asked = "`certificate_file` and `key_file` where they ask who connects";
    let lone_key = format!("ca_file = \"server.pem\", key_file = {:?}", key_of_client(KEY));
    let stranger = format!("ca_file = \"stranger.pem\", {identity}");
    for (user, password, options, expected) in [
        (USER, USER, stranger.as_str(), "certificate"),
        (USER, USER, "", "the option `ca_file` has to be set where they speak TLS"),
        (USER, USER, "ca_file = \"server.pem\"", asked),
        (USER, USER, lone_key.as_str(), "expected `certificate_file` with it"),
        (USER, USER, identity.as_str(), "expected `ca_file` with it"),
        (USER_OF_KEYS, USER_OF_KEYS, known.as_str(), "wrong: the user may not subscribe to /_tl_state: "),
        (USER, "wrong", known.as_str(), "`user` and `password_file` have to name a user of the cluster"),
    ] {
        let complaints = doctor(&cluster, &folder, (user, password), options);
        assert!(complaints.contains(expected), "{complaints}");
    }

    let roots = folder.join("server.pem");
    let reader = Client::connect(config(&cluster, &roots).user("dataRead", "dataRead")).await.unwrap();
    assert_eq!(reader.region("docs").get(&key).await.unwrap().value(), Some(&text));
    let refused = reader.region("docs").put(&key, &text).await.unwrap_err();
    assert!(matches!(&refused, Error::NotAuthorized(why) if why.contains("DATA:WRITE:docs")), "{refused}");
    let unknown = Client::connect(config(&cluster, &roots).user("dataRead", "wrong")).await.unwrap_err();
    assert!(matches!(unknown, Error::Authentication(_)), "{unknown}");
    let anonymous = Config { credentials: None, ..config(&cluster, &roots) };
    let anonymous = Client::connect(anonymous).await.unwrap_err();
    assert!(matches!(anonymous, Error::Authentication(_)), "{anonymous}");

    let nobody =
        Config { tls: Some(Tls::with_pem(&fs::read(&roots).unwrap(), None).unwrap()), ..config(&cluster, &roots) };
    let nobody = Client::connect(nobody).await.unwrap_err();
    assert!(matches!(&nobody, Error::Unreachable(_)), "{nobody}");
    let wary = Client::connect(config(&cluster, &folder.join("stranger.pem"))).await.unwrap_err();
    assert!(matches!(&wary, Error::Unreachable(why) if why.contains("certificate")), "{wary}");
    let naive = Client::connect(Config::with_locator(Address::new("127.0.0.1", cluster.locator_port()))).await;
    assert!(matches!(naive, Err(Error::Unreachable(_) | Error::Refused { .. })), "{naive:?}");
}
