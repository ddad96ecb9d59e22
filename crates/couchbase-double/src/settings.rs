//! The settings of a bucket, as the form that makes it has them (`ns_server` `menelaus_web_buckets.erl`,
//! `parse_bucket_params`, and `menelaus_web_autocompaction.erl`).

use serde_json::{Map, Value, json};

use crate::rest::field;

/// The cluster's purge interval, in days (`compaction_api.erl`, `get_purge_interval`).
pub(crate) const PURGE_DAYS: f64 = 3.0;
/// The least and the most that a purge interval may be, in days (since 7.6 the least is shorter, since 8 the most longer).
const PURGE_DAYS_MIN: f64 = 0.04;
const PURGE_DAYS_MAX: f64 = 60.0;
const REPLICAS_MAX: usize = 3;
const RAM_MIB_MIN: u64 = 100;

/// What a bucket was made with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Memory on each node.
    pub(crate) ram_mib: u64,
    /// Copies besides the active one, whatever the nodes allow.
    pub(crate) replicas: usize,
    pub(crate) is_flushable: bool,
    /// Whether the bucket has its own settings of compaction, and which.
    pub(crate) compaction: Option<Compaction>,
}

/// A bucket's own settings of compaction.
#[derive(Debug, Clone)]
pub(crate) struct Compaction {
    /// None of its own: the cluster's.
    purge_days: Option<f64>,
    /// Percent.
    database: Option<u64>,
    views: Option<u64>,
}

/// What is wrong with a form: text by field.
type Errors = Map<String, Value>;

impl Settings {
    /// Those of a form, or what is wrong with it.
    pub(crate) fn read(form: &str) -> Result<Self, Errors> {
        let mut errors = Errors::new();
        let text = |name| field(form, name);
        if let Some(kind) = text("bucketType").filter(|kind| !matches!(kind.as_str(), "couchbase" | "membase")) {
            errors.insert(
                "bucketType".into(),
                format!("invalid bucket type {kind}, or one that the double has not").into(),
            );
        }
        let ram_mib = text("ramQuota").or_else(|| text("ramQuotaMB")).and_then(|text| text.parse().ok());
        match ram_mib {
            None => {
                let said = "The RAM Quota must be specified and must be a positive integer.";
                errors.insert("ramQuota".into(), said.into());
            }
            Some(RAM_MIB_MIN..) => {}
            Some(_) => {
                errors.insert("ramQuota".into(), format!("RAM quota cannot be less than {RAM_MIB_MIN} MiB").into());
            }
        }
        let replicas = text("replicaNumber").map_or(Some(1), |text| text.parse().ok());
        match replicas {
            None => {
                let said = "The replica number must be specified and must be a non-negative integer.";
                errors.insert("replicaNumber".into(), said.into());
            }
            Some(0..=REPLICAS_MAX) => {}
            Some(_) => {
                let said = format!("Replica number larger than {REPLICAS_MAX} is not supported.");
                errors.insert("replicaNumber".into(), said.into());
            }
        }
        let compaction = match text("autoCompactionDefined").as_deref() {
            None | Some("false") => None,
            Some("true") => Some(Compaction::read(form, &mut errors)),
            Some(_) => {
                errors.insert("autoCompactionDefined".into(), "autoCompactionDefined is invalid".into());
                None
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let is_flushable = text("flushEnabled").as_deref() == Some("1");
        Ok(Self {
            ram_mib: ram_mib.unwrap_or_default(),
            replicas: replicas.unwrap_or_default(),
            is_flushable,
            compaction,
        })
    }

    /// The part of a bucket's description that is about compaction: without settings of its own there is no interval
    /// (`build_auto_compaction_info`, `build_purge_interval_info`).
    pub(crate) fn compaction_json(&self) -> Value {
        let Some(compaction) = &self.compaction else { return json!({"autoCompactionSettings": false}) };
        json!({
            "autoCompactionSettings": thresholds(compaction.database, compaction.views),
            "purgeInterval": number(compaction.purge_days.unwrap_or(PURGE_DAYS)),
        })
    }
}

impl Compaction {
    fn read(form: &str, errors: &mut Errors) -> Self {
        let mut percent = |name: &str| {
            let text = field(form, name)?;
            let found = text.parse().ok().filter(|percent| (2..=100).contains(percent));
            if found.is_none() {
                errors.insert(name.to_owned(), format!("{name} must be an integer. Allowed range is 2 - 100").into());
            }
            found
        };
        let database = percent("databaseFragmentationThreshold[percentage]");
        let views = percent("viewFragmentationThreshold[percentage]");
        match field(form, "parallelDBAndViewCompaction").as_deref() {
            Some("true" | "false") => {}
            Some(_) => {
                let name = "parallelDBAndViewCompaction";
                errors.insert(name.into(), format!("{name} is invalid").into());
            }
            None => {
                let name = "parallelDBAndViewCompaction";
                errors.insert(name.into(), format!("{name} is missing").into());
            }
        }
        let purge_days = field(form, "purgeInterval").and_then(|text| {
            let days: Option<f64> = text.parse().ok();
            let wrong = match days {
                None => "metadata purge interval must be a number".to_owned(),
                Some(days) if (PURGE_DAYS_MIN..=PURGE_DAYS_MAX).contains(&days) => return Some(days),
                Some(days) => {
                    let how = if days < PURGE_DAYS_MIN { "small" } else { "large" };
                    format!(
                        "metadata purge interval is too {how}. Allowed range is {PURGE_DAYS_MIN} - {PURGE_DAYS_MAX}"
                    )
                }
            };
            errors.insert("purgeInterval".into(), wrong.into());
            None
        });
        Self { purge_days, database, views }
    }
}

/// What the server compacts at: what is missing is no threshold.
pub(crate) fn thresholds(database: Option<u64>, views: Option<u64>) -> Value {
    let at = |percentage: Option<u64>| match percentage {
        Some(percentage) => json!({"percentage": percentage, "size": "undefined"}),
        None => json!({"percentage": "undefined", "size": "undefined"}),
    };
    json!({
        "parallelDBAndViewCompaction": false,
        "databaseFragmentationThreshold": at(database),
        "viewFragmentationThreshold": at(views),
    })
}

/// Days without a fraction are written without one, as the server keeps what it was given.
pub(crate) fn number(days: f64) -> Value {
    let text = days.to_string();
    text.parse::<u64>().map_or_else(|_| Value::from(days), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name=app&ramQuota=256";

    #[test]
    fn only_settings_of_its_own_show_a_purge_interval() {
        let shown = |more: &str| Settings::read(&format!("{LEAST}{more}")).unwrap().compaction_json();
        assert_eq!(shown("&purgeInterval=9"), json!({"autoCompactionSettings": false}));
        let own = "&autoCompactionDefined=true&parallelDBAndViewCompaction=false";
        assert_eq!(shown(own)["purgeInterval"], 3);
        assert_eq!(shown(&format!("{own}&purgeInterval=0.5"))["purgeInterval"], 0.5);
        let settings = shown(&format!("{own}&databaseFragmentationThreshold[percentage]=30&purgeInterval=30"));
        assert_eq!(settings["purgeInterval"], 30);
        let at = |name: &str| settings["autoCompactionSettings"][name]["percentage"].clone();
        assert_eq!(at("databaseFragmentationThreshold"), 30);
        assert_eq!(at("viewFragmentationThreshold"), "undefined");
    }

    #[test]
    fn what_is_wrong_with_a_form_is_said_by_field() {
        let wrong = |form: &str| Settings::read(form).unwrap_err().keys().cloned().collect::<Vec<_>>();
        assert_eq!(wrong("name=app"), ["ramQuota"]);
        assert_eq!(wrong("ramQuota=64&replicaNumber=4&bucketType=x"), ["bucketType", "ramQuota", "replicaNumber"]);
        let own = |more: &str| wrong(&format!("{LEAST}&autoCompactionDefined=true{more}"));
        assert_eq!(own(""), ["parallelDBAndViewCompaction"]);
        assert_eq!(own("&parallelDBAndViewCompaction=no"), ["parallelDBAndViewCompaction"]);
        let days = |days: &str| own(&format!("&parallelDBAndViewCompaction=false&purgeInterval={days}"));
        assert_eq!([days("61"), days("0.01"), days("x")], [["purgeInterval"]; 3]);
        let percent = "&parallelDBAndViewCompaction=false&databaseFragmentationThreshold[percentage]=1";
        assert_eq!(own(percent), ["databaseFragmentationThreshold[percentage]"]);
    }
}
