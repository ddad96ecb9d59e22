//! Rules as a database's configuration gives them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidelock_core::json as core_json;
use tidelock_store::{ChannelSet, Filter};

use super::{CollectionRules, Denied, Document, Rules};
use crate::auth::Identity;
use crate::config::Config;

/// The rules of a database `t` with these tables below `databases.t`.
fn rules(tables: &str) -> Rules {
    compile(tables).unwrap_or_else(|error| panic!("{error}"))
}

fn compile(tables: &str) -> Result<Rules, String> {
    let config = Config::parse_dev(&format!("[databases.t]\npath = \"t\"\n{tables}"), "t.toml");
    let config = config.map_err(|error| error.to_string())?;
    Rules::compile(&config.databases["t"], &config.identity).map_err(|error| error.to_string())
}

/// One collection `c` with one rule.
fn collection(rule: &str, expression: &str) -> Rules {
    rules(&format!("[databases.t.collections.c]\n{rule} = '''{expression}'''\n"))
}

fn c(rules: &Rules) -> &CollectionRules {
    rules.collection("c").expect("configured")
}

/// What an identity may read when no document grants anything.
fn filter(rules: &Rules, identity: &Identity) -> Filter {
    rules.filter(identity, &BTreeSet::new())
}

fn identity(subject: &str, claims: Value) -> Identity {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    Identity { subject: subject.to_owned(), claims, ..Identity::default() }
}

fn ann() -> Identity {
    identity("ann", json!({"role": "editor", "teams": ["a", "b"], "level": 3}))
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    let rules = rules("[databases.t.collections.c]\n");
    assert!(!c(&rules).may_read(&ann()));
    assert_eq!(c(&rules).may_write(&ann(), "k", None, Some(&json!({}))), Err(Denied::NoRule));
    assert_eq!(filter(&rules, &ann()), Filter::default());
    assert!(rules.collection("other").is_none());
}

#[test]
fn read_rules_allow_and_deny() {
    let nobody = Identity::default();
    let table = [
        ("true", &ann(), true),
        ("false", &ann(), false),
        ("identity.sub == 'ann'", &ann(), true),
        ("identity.sub == 'ann'", &nobody, false),
        ("identity.sub != ''", &nobody, false),
        ("identity.claims.role == 'editor'", &ann(), true),
        ("identity.claims.role in ['admin', 'editor']", &ann(), true),
        ("'b' in identity.claims.teams", &ann(), true),
        ("identity.claims.level >= 3", &ann(), true),
        ("identity.claims.teams.exists(t, t.startsWith('b'))", &ann(), true),
        // What is not there denies, whatever the comparison asks.
        ("identity.claims.role == 'editor'", &nobody, false),
        ("identity.claims.role != 'guest'", &nobody, false),
        ("!(identity.claims.banned)", &ann(), false),
        ("identity.claims.banned != true", &ann(), false),
        ("has(identity.claims.banned) && identity.claims.banned", &ann(), false),
        ("!has(identity.claims.banned)", &ann(), true),
        // A result that is not a bool is no permission.
        ("1", &ann(), false),
        ("'true'", &ann(), false),
        ("null", &ann(), false),
        ("identity", &ann(), false),
        // Types that do not fit deny.
        ("identity.claims.role > 3", &ann(), false),
        ("identity.claims.teams.name == 'a'", &ann(), false),
    ];
    for (expression, identity, expected) in table {
        let rules = collection("read", expression);
        assert_eq!(c(&rules).may_read(identity), expected, "{expression} for {:?}", identity.subject);
        assert_eq!(filter(&rules, identity).collections.contains_key("c"), expected, "{expression}");
    }
}

#[test]
fn claims_of_null_and_of_other_types_deny() {
    let rules = collection("read", "identity.claims.role == 'editor' && identity.claims.teams.exists(t, t == 'a')");
    for claims in [
        json!({"role": null, "teams": ["a"]}),
        json!({"role": ["editor"], "teams": ["a"]}),
        json!({"role": "editor", "teams": null}),
        json!({"role": "editor", "teams": "a"}),
        json!({"role": "editor", "teams": 1}),
        json!({"role": "editor"}),
        json!({}),
    ] {
        assert!(!c(&rules).may_read(&identity("eve", claims.clone())), "{claims}");
    }
}

#[test]
fn write_rules_see_both_states() {
    let old = json!({"owner": "ann", "votes": 1});
    let new = json!({"owner": "ann", "votes": 2});
    let stolen = json!({"owner": "eve", "votes": 2});
    let table = [
        ("old == null", None, Some(&new), true),
        ("old == null", Some(&old), Some(&new), false),
        ("new != null", Some(&old), None, false),
        ("new.owner == identity.sub", None, Some(&new), true),
        ("new.owner == identity.sub", None, Some(&stolen), false),
        // A delete has no new document: the rule that forgets it denies.
        ("new.owner == identity.sub", Some(&old), None, false),
        (
            "(old == null || old.owner == identity.sub) && (new == null || new.owner == identity.sub)",
            Some(&old),
            None,
            true,
        ),
        ("old == null || new.owner == old.owner", Some(&old), Some(&stolen), false),
        ("old == null || new.votes <= old.votes + 1", Some(&old), Some(&new), true),
        ("key.startsWith(identity.sub + ':')", None, Some(&new), true),
        ("key == 'other'", None, Some(&new), false),
    ];
    for (expression, old, new, expected) in table {
        let rules = collection("write", expression);
        let outcome = c(&rules).may_write(&ann(), "ann:1", old, new);
        assert_eq!(outcome.is_ok(), expected, "{expression} from {old:?} to {new:?}: {outcome:?}");
    }
}

#[test]
fn a_write_rule_says_whether_it_reads_the_current_state() {
    for (expression, reads) in [
        ("new.a == 1", false),
        ("old == null", true),
        ("has(new.b) ? new.b == 1 : old.b == 1", true),
        ("new.items.all(old, old > 1)", false),
        ("new.old == 1", false),
    ] {
        assert_eq!(c(&collection("write", expression)).reads_current_state(), reads, "{expression}");
    }
}

#[test]
fn a_refusal_tells_nothing_of_the_documents() {
    let secret = json!({"canary-name": "canary-value", "n": 1});
    for expression in ["old.missing == 1", "old['canary-name'] > 3", "old.n / 0 == 1", "old == new", "old.n[old] == 1"]
    {
        let rules = collection("write", expression);
        let outcome = c(&rules).may_write(&ann(), "canary-key", Some(&secret), Some(&json!({})));
        let text = outcome.expect_err(expression).to_string();
        assert!(!text.contains("canary"), "{expression}: {text}");
    }
    let rules = collection("write", "old.missing == 1");
    let denied = c(&rules).may_write(&ann(), "k", Some(&secret), None);
    assert_eq!(denied, Err(Denied::Failed("a member or element does not exist")));
    assert_eq!(denied.map_err(|denied| denied.to_string()), Err(Denied::Refused.to_string()), "no oracle");
    assert_eq!(c(&rules).failures(), 1);
}

#[test]
fn channels_of_documents() {
    let document = json!({"list": "42", "members": ["ann", "bob", "ann"], "n": 7, "none": null, "public": true});
    let table: [(&str, &[&str]); 10] = [
        ("['list:' + doc.list]", &["list:42"]),
        ("doc.members.map(m, 'user:' + m)", &["user:ann", "user:bob"]),
        ("doc.public ? ['all', 'list:' + doc.list] : []", &["all", "list:42"]),
        ("[key, 'n:' + string(doc.n)]", &["k", "n:7"]),
        ("has(doc.team) ? ['team:' + doc.team] : ['b', 'a']", &["a", "b"]),
        // Failures give no channel.
        ("['team:' + doc.team]", &[]),
        ("['x:' + doc.none]", &[]),
        ("doc.list", &[]),
        ("[doc.n]", &[]),
        ("['good', '']", &[]),
    ];
    for (expression, expected) in table {
        let rules = collection("channels", expression);
        assert_eq!(c(&rules).channels("k", &document), expected, "{expression}");
    }
    assert!(c(&rules("[databases.t.collections.c]\n")).channels("k", &document).is_empty());
}

#[test]
fn a_channel_has_a_longest_name_and_a_document_a_most_of_them() {
    let rules = collection("channels", "doc.names");
    let names = |count: usize, length: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("{index:0length$}")).collect();
        c(&rules).channels("k", &json!({ "names": names })).len()
    };
    assert_eq!(names(256, 256), 256);
    assert_eq!(names(257, 8), 0);
    assert_eq!(names(1, 257), 0);
}

#[test]
fn filters_join_read_rules_and_identity_channels() {
    let tables = "
        [databases.t.collections.open]
        read = 'true'
        [databases.t.collections.routed]
        read = 'identity.sub != \"\"'
        channels = '[doc.c]'
        [databases.t.collections.admin]
        read = 'identity.claims.role == \"admin\"'
        [identity]
        channels = '[\"user:\" + identity.sub] + identity.claims.teams.map(t, \"team:\" + t)'
    ";
    let rules = rules(tables);
    let visible = filter(&rules, &ann());
    assert_eq!(visible.collections.keys().collect::<Vec<_>>(), ["open", "routed"]);
    assert_eq!(visible.collections["open"], ChannelSet::All);
    let channels = ["team:a", "team:b", "user:ann"].map(str::to_owned).into();
    assert_eq!(visible.collections["routed"], ChannelSet::Only(channels));
    assert!(visible.matches("routed", &["team:a".to_owned()]));
    assert!(!visible.matches("routed", &[]), "a document without channels is seen by nobody");
    assert!(!visible.matches("admin", &["team:a".to_owned()]));
    // Without the claim, the identity's channels cannot be computed: it reads no routed document.
    let visible = filter(&rules, &identity("bob", json!({})));
    assert_eq!(visible.collections["routed"], ChannelSet::Only(std::collections::BTreeSet::new()));
    assert_eq!(filter(&rules, &Identity::default()).collections.keys().collect::<Vec<_>>(), ["open"]);
}

#[test]
fn a_routed_collection_without_identity_channels_is_empty_for_everyone() {
    let rules = rules("[databases.t.collections.c]\nread = 'true'\nchannels = '[doc.c]'\n");
    assert_eq!(filter(&rules, &ann()).collections["c"], ChannelSet::Only(std::collections::BTreeSet::new()));
}

#[test]
fn open_collections_come_into_being_by_use() {
    let rules = rules("open_collections = true\n[databases.t.collections.closed]\n");
    assert!(filter(&rules, &ann()).collections.is_empty());
    let notes = rules.collection("notes").expect("any name");
    assert!(notes.may_read(&ann()) && !notes.may_read(&Identity::default()));
    assert_eq!(notes.may_write(&ann(), "k", None, Some(&json!(1))), Ok(()));
    assert_eq!(notes.may_write(&Identity::default(), "k", None, Some(&json!(1))), Err(Denied::Refused));
    assert_eq!(filter(&rules, &ann()).collections.get("notes"), Some(&ChannelSet::All));
    assert!(filter(&rules, &Identity::default()).collections.is_empty());
    assert!(
        !rules.collection("closed").expect("configured").may_read(&ann()),
        "a configured collection keeps its rules"
    );
    for name in ["", "a/b", "\u{1}tl:outbox:a", &"x".repeat(200)] {
        assert!(rules.collection(name).is_none(), "{name:?}");
    }
    assert_eq!(rules.open_collections(), ["notes"]);
    for index in 0..2_000 {
        rules.collection(&format!("c{index}"));
    }
    assert_eq!(rules.open_collections().len(), super::OPEN_COLLECTIONS_MAX);
}

#[test]
fn numbers_reach_rules_without_rounding() {
    let document = br#"{"big": 9007199254740993, "huge": 18446744073709551615, "one": 1.0, "half": 0.5, "e": 1e3,
        "beyond": 123456789012345678901234567890, "below": -9223372036854775808}"#;
    let document = core_json::parse(document).expect("JSON");
    for expression in [
        "new.big == 9007199254740993",
        "new.big != 9007199254740992",
        "new.big + 1 == 9007199254740994",
        "new.huge == 18446744073709551615u",
        "new.one + 1 == 2",
        "new.half + 0.5 == 1.0",
        "new.e == 1000",
        "double(new.one) / 2.0 == 0.5",
        "new.half < 1",
        "new.beyond == '123456789012345678901234567890'",
        "new.beyond != '123456789012345678901234567891'",
        "new.below < 0",
    ] {
        let rules = collection("write", expression);
        assert_eq!(c(&rules).may_write(&ann(), "k", None, Some(&document)), Ok(()), "{expression}");
    }
    assert_eq!(c(&collection("channels", "[string(doc.big)]")).channels("k", &document), ["9007199254740993"]);
}

#[test]
fn names_like_prototype_members_are_plain_members() {
    let document = json!({"__proto__": {"admin": true}, "constructor": "x"});
    assert!(c(&collection("write", "has(new.admin)")).may_write(&ann(), "k", None, Some(&document)).is_err());
    assert!(c(&collection("write", "new.__proto__.admin")).may_write(&ann(), "k", None, Some(&document)).is_ok());
}

#[test]
fn wrong_expressions_are_named_with_their_place() {
    let table = [
        ("read", "identity.sub ==", "CEL, at 1:16: "),
        ("read", "identity.sub == 'a' &&\n  doc.x", "CEL, at 2:3: unknown name `doc`; expected `identity`"),
        ("channels", "[identity.sub]", "CEL, at 1:2: unknown name `identity`; expected `doc`, `key`"),
        ("write", "matches(key, 'a')", "`matches` is not a function that rules may use"),
        ("write", "key.replace('a', 'b') == ''", "`replace` is not a function that rules may use"),
        ("write", "now() > 1", "`now` is not a function that rules may use"),
        ("write", "new.a.all(x, x.b.all(y, y.c.all(z, z in new.d)))", "expected loops to be nested at most 3 deep"),
        ("write", "Thing{a: 1} == 1", "unknown type `Thing`"),
        ("read", "", "CEL, at 1:"),
    ];
    for (rule, expression, expected) in table {
        let tables = format!("[databases.t.collections.c]\n{rule} = '''{expression}'''\n");
        let error = compile(&tables).expect_err(expression);
        assert!(
            error.starts_with(&format!("t.toml:4:{}: databases.t.collections.c.{rule}: ", rule.len() + 4)),
            "{error}"
        );
        assert!(error.contains(expected), "{expression}: {error}");
    }
    let long = format!("[databases.t.collections.c]\nread = '''{}true'''\n", " ".repeat(5_000));
    assert!(compile(&long).unwrap_err().contains("found 5004 bytes; expected at most 4096"));
}

#[test]
fn deep_expressions_are_refused_before_they_can_exhaust_the_stack() {
    for expression in [
        format!("{}true{}", "(".repeat(1_500), ")".repeat(1_500)),
        format!("1{} == 1", "+1".repeat(1_500)),
        format!("identity{}", ".a".repeat(1_500)),
        format!("{}1{} == 1", "[".repeat(1_000), "]".repeat(1_000)),
        format!("true{}", " ? true : true".repeat(200)),
    ] {
        let tables = format!("[databases.t.collections.c]\nread = '''{expression}'''\n");
        let error = compile(&tables).expect_err(&expression);
        assert!(error.contains("CEL"), "{error}");
    }
}

#[test]
fn every_problem_of_a_database_is_reported_at_once() {
    let error =
        compile("[databases.t.collections.a]\nread = 'x'\n[databases.t.collections.b]\nwrite = 'y'\n").unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn loops_are_bounded_by_the_inputs_size() {
    let numbers = |count: usize| json!({"a": (0..count).collect::<Vec<_>>(), "b": (0..count).collect::<Vec<_>>()});
    let nested = collection("write", "new.a.all(x, new.b.exists(y, x == y))");
    assert_eq!(c(&nested).may_write(&ann(), "k", None, Some(&numbers(200))), Ok(()));
    let denied = c(&nested).may_write(&ann(), "k", None, Some(&numbers(600)));
    assert_eq!(denied, Err(Denied::Failed("the inputs are too large for its loops")));
    // A single loop is as long as the document.
    let single = collection("write", "new.a.all(x, x >= 0)");
    assert_eq!(c(&single).may_write(&ann(), "k", None, Some(&numbers(250_000))), Ok(()));
    // A search in another list within a loop is a nested loop.
    let search = collection("write", "new.a.all(x, x in new.b)");
    assert!(matches!(c(&search).may_write(&ann(), "k", None, Some(&numbers(600))), Err(Denied::Failed(_))));
    // Taking a text apart makes a loop over its bytes.
    let split = collection("write", "new.t.split('').all(x, new.t.contains(x))");
    let text = json!({"t": "x".repeat(10_000)});
    assert!(matches!(c(&split).may_write(&ann(), "k", None, Some(&text)), Err(Denied::Failed(_))));
}

#[test]
fn schemas_accept_and_refuse() {
    let rules = rules(
        r##"
        [databases.t.collections.c]
        [databases.t.collections.c.schema]
        type = "object"
        required = ["title"]
        additionalProperties = false
        [databases.t.collections.c.schema.properties]
        title = { type = "string", maxLength = 5 }
        tags = { type = "array", items = { "$ref" = "#/$defs/tag" } }
        [databases.t.collections.c.schema."$defs"]
        tag = { enum = ["a", "b"] }
        "##,
    );
    assert_eq!(c(&rules).validate(&json!({"title": "short", "tags": ["a"]})), Ok(()));
    let table = [
        (json!({"title": "longer"}), "/title", "must satisfy `maxLength`: 5"),
        (json!({"title": 1}), "/title", "must satisfy `type`: \"string\""),
        (json!({"tags": []}), "", "must satisfy `required`: [\"title\"]"),
        (json!({"title": "x", "canary": 1}), "", "must satisfy `additionalProperties`: false"),
        (json!({"title": "x", "tags": ["a", "canary"]}), "/tags/1", "must satisfy `enum`"),
        (json!([]), "", "must satisfy `type`: \"object\""),
        (json!(null), "", "must satisfy `type`: \"object\""),
    ];
    for (document, path, message) in table {
        let violation = c(&rules).validate(&document).expect_err("not valid");
        assert_eq!(violation.path, path, "{document}");
        assert!(violation.message.starts_with(message), "{document}: {violation}");
        assert!(!violation.to_string().contains("canary"), "{violation}");
    }
}

#[test]
fn a_violation_does_not_tell_member_names_of_the_document() {
    let rules = rules(
        "[databases.t.collections.c]\n[databases.t.collections.c.schema]\nadditionalProperties = { type = \"object\", \
         additionalProperties = { type = \"string\" } }\n",
    );
    let violation = c(&rules).validate(&json!({"canary": {"canary/2": 1}})).expect_err("not valid");
    assert_eq!(violation.path, "/*/*");
}

#[test]
fn wrong_schemas_are_refused_at_start() {
    let table = [
        ("\"$ref\" = \"https://example.com/s.json\"", "leaves the schema; expected definitions within it"),
        ("\"$ref\" = \"file:///etc/passwd\"", "leaves the schema; expected definitions within it"),
        ("\"$ref\" = \"other.json\"", "leaves the schema; expected definitions within it"),
        ("type = \"strin\"", "JSON Schema: "),
        ("pattern = \"(?=a)b\"", "JSON Schema: "),
        ("minLength = -1", "JSON Schema: "),
    ];
    for (member, expected) in table {
        let error = compile(&format!("[databases.t.collections.c]\nschema = {{ {member} }}\n")).expect_err(member);
        assert!(error.starts_with("t.toml:4:10: databases.t.collections.c.schema: "), "{error}");
        assert!(error.contains(expected), "{member}: {error}");
    }
}

#[test]
fn both_kinds_of_documents_are_treated_alike() {
    let text = r#"{"s": "x", "i": 7, "f": 0.5, "b": true, "n": null, "a": [1, "y"], "o": {"k": -3}, "u": 18446744073709551615}"#;
    let rules = collection(
        "channels",
        "doc.s == 'x' && doc.i == 7 && doc.f == 0.5 && doc.b && doc.n == null && doc.a == [1, 'y'] && doc.o == {'k': -3}
         && doc.u == 18446744073709551615u ? ['all'] : []",
    );
    let core = core_json::parse(text.as_bytes()).expect("JSON");
    let plain: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(c(&rules).channels("k", &core), ["all"]);
    assert_eq!(c(&rules).channels("k", &plain), ["all"]);
    assert_eq!(core.to_json(), plain);
}

#[test]
fn a_schema_sees_integers_of_any_size() {
    let rules = rules("[databases.t.collections.c]\nschema = { type = \"integer\", maximum = 9007199254740993 }\n");
    let valid = |text: &str| c(&rules).validate(&core_json::parse(text.as_bytes()).expect("JSON")).is_ok();
    assert!(valid("9007199254740993") && !valid("9007199254740994"), "no rounding within 64 bits");
    assert!(!valid(&format!("1{}", "0".repeat(400))) && valid(&format!("-1{}", "0".repeat(400))));
    assert!(!valid("0.5"));
}

#[test]
fn an_integer_of_any_size_is_not_taken_for_a_delete() {
    let huge = core_json::parse(format!("{{\"n\":1{}}}", "0".repeat(400)).as_bytes()).expect("JSON");
    let rules = collection("write", "new == null || new.owner == identity.sub");
    assert!(c(&rules).may_write(&ann(), "k", None, Some(&huge)).is_err());
    let rules = collection("write", "new.n.size() == 401");
    assert_eq!(c(&rules).may_write(&ann(), "k", None, Some(&huge)), Ok(()));
}

#[test]
fn a_write_rule_about_the_identity_alone_is_asked_once_for_each_identity() {
    let may_write =
        |rules: &Rules, identity: &Identity, new: &Value| c(rules).may_write(identity, "k", None, Some(new));
    let editors = collection("write", "identity.claims.role == 'editor'");
    let mut ann = ann();
    assert_eq!(may_write(&editors, &ann, &json!({})), Ok(()));
    ann.claims.insert("role".to_owned(), json!("guest"));
    assert_eq!(may_write(&editors, &ann, &json!({})), Ok(()), "what was said is remembered");
    assert_eq!(may_write(&editors, &ann.clone(), &json!({})), Err(Denied::Refused), "of this identity");
    let same = collection("write", "identity.claims.role == 'editor'");
    assert_eq!(may_write(&same, &ann, &json!({})), Err(Denied::Refused), "by this rule");
    let content = collection("write", "identity.sub == 'ann' && new.open");
    assert_eq!(may_write(&content, &ann, &json!({ "open": true })), Ok(()));
    assert_eq!(may_write(&content, &ann, &json!({ "open": false })), Err(Denied::Refused));
}
