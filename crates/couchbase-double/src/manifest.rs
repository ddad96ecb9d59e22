//! Scopes and collections of a bucket (`kv_engine` docs/Collections.md).

use serde_json::{Value, json};

use crate::wire::leb128;

/// The scopes and collections of a bucket at one point of its history.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// Grows with each change.
    pub(crate) uid: u64,
    pub(crate) scopes: Vec<Scope>,
    /// The next id of a scope or a collection; ids below 8 are reserved (docs/Collections.md).
    next_id: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) collections: Vec<Collection>,
}

#[derive(Debug, Clone)]
pub(crate) struct Collection {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// Seconds; 0 for no limit.
    pub(crate) max_ttl: u32,
}

/// A change of the manifest as each vbucket records it (`docs/dcp/documentation/commands/system_event.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemEvent {
    pub(crate) what: What,
    pub(crate) scope: u32,
    pub(crate) manifest_uid: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    CollectionBegin { id: u32, name: String, max_ttl: u32 },
    CollectionEnd { id: u32 },
    ScopeCreate { name: String },
    ScopeDrop,
}

impl SystemEvent {
    /// The key in the system namespace, collection 1; a collection's end replaces its beginning.
    pub(crate) fn key(&self) -> Vec<u8> {
        let name = match &self.what {
            What::CollectionBegin { id, .. } | What::CollectionEnd { id } => format!("_collection:{id:#x}"),
            What::ScopeCreate { .. } | What::ScopeDrop => format!("_scope:{:#x}", self.scope),
        };
        [leb128(1), name.into_bytes()].concat()
    }

    pub(crate) fn collection(&self) -> Option<u32> {
        match self.what {
            What::CollectionBegin { id, .. } | What::CollectionEnd { id } => Some(id),
            What::ScopeCreate { .. } | What::ScopeDrop => None,
        }
    }
}

/// Why a change of the manifest is refused, in the words of the management REST.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("Scope with name \"{0}\" already exists")]
    ScopeExists(String),
    #[error("Scope with name \"{0}\" is not found")]
    ScopeNotFound(String),
    #[error("Collection with name \"{1}\" in scope \"{0}\" already exists")]
    CollectionExists(String, String),
    #[error("Collection with name \"{1}\" in scope \"{0}\" is not found")]
    CollectionNotFound(String, String),
    #[error("Deleting _default scope is not allowed")]
    DefaultScope,
    #[error("{0}")]
    Name(String),
}

impl From<SystemEvent> for Vec<SystemEvent> {
    fn from(event: SystemEvent) -> Self {
        vec![event]
    }
}

impl Default for Manifest {
    fn default() -> Self {
        let default = Collection { id: 0, name: "_default".into(), max_ttl: 0 };
        let scope = Scope { id: 0, name: "_default".into(), collections: vec![default] };
        Self { uid: 0, scopes: vec![scope], next_id: 8 }
    }
}

impl Manifest {
    pub(crate) fn collection(&self, id: u32) -> Option<&Collection> {
        self.scopes.iter().flat_map(|scope| &scope.collections).find(|one| one.id == id)
    }

    pub(crate) fn scope(&self, name: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.name == name)
    }

    /// The scope that a collection is in.
    pub(crate) fn scope_of(&self, collection: u32) -> Option<u32> {
        let has = |scope: &&Scope| scope.collections.iter().any(|one| one.id == collection);
        self.scopes.iter().find(has).map(|scope| scope.id)
    }

    /// The id behind `scope.collection`; an empty part means `_default`.
    pub(crate) fn find(&self, path: &str) -> Result<(u32, u32), Missing> {
        // Two parts (engines/ep/src/collections/manager.cc).
        let (scope, collection) =
            path.split_once('.').filter(|(_, rest)| !rest.contains('.')).ok_or(Missing::Malformed)?;
        let scope = self.scope(known_name(scope)?).ok_or(Missing::Scope)?;
        let name = known_name(collection)?;
        let found = scope.collections.iter().find(|one| one.name == name).ok_or(Missing::Collection)?;
        Ok((scope.id, found.id))
    }

    /// The id of the scope of a path, with a collection or without one.
    pub(crate) fn find_scope(&self, path: &str) -> Result<u32, Missing> {
        let mut parts = path.splitn(3, '.');
        let scope = parts.next().unwrap_or_default();
        if parts.nth(1).is_some() {
            return Err(Missing::Malformed);
        }
        self.scope(known_name(scope)?).map(|scope| scope.id).ok_or(Missing::Scope)
    }

    pub(crate) fn create_scope(&mut self, name: &str) -> Result<SystemEvent, ManifestError> {
        check_name(name)?;
        if self.scope(name).is_some() {
            return Err(ManifestError::ScopeExists(name.to_owned()));
        }
        let id = self.take_id();
        self.scopes.push(Scope { id, name: name.to_owned(), collections: Vec::new() });
        Ok(SystemEvent { what: What::ScopeCreate { name: name.to_owned() }, scope: id, manifest_uid: self.uid })
    }

    pub(crate) fn create_collection(
        &mut self,
        scope: &str,
        name: &str,
        max_ttl: u32,
    ) -> Result<SystemEvent, ManifestError> {
        check_name(name)?;
        let found = self.scope(scope).ok_or_else(|| ManifestError::ScopeNotFound(scope.to_owned()))?;
        if found.collections.iter().any(|one| one.name == name) {
            return Err(ManifestError::CollectionExists(scope.to_owned(), name.to_owned()));
        }
        let id = self.take_id();
        let found = self.scopes.iter_mut().find(|one| one.name == scope);
        let found = found.ok_or_else(|| ManifestError::ScopeNotFound(scope.to_owned()))?;
        found.collections.push(Collection { id, name: name.to_owned(), max_ttl });
        let what = What::CollectionBegin { id, name: name.to_owned(), max_ttl };
        Ok(SystemEvent { what, scope: found.id, manifest_uid: self.uid })
    }

    pub(crate) fn drop_collection(&mut self, scope: &str, name: &str) -> Result<SystemEvent, ManifestError> {
        let found = self.scopes.iter_mut().find(|one| one.name == scope);
        let found = found.ok_or_else(|| ManifestError::ScopeNotFound(scope.to_owned()))?;
        let at = found.collections.iter().position(|one| one.name == name);
        let at = at.ok_or_else(|| ManifestError::CollectionNotFound(scope.to_owned(), name.to_owned()))?;
        let id = found.collections.remove(at).id;
        let scope = found.id;
        self.uid += 1;
        Ok(SystemEvent { what: What::CollectionEnd { id }, scope, manifest_uid: self.uid })
    }

    /// The ends of the scope's collections, then the end of the scope.
    pub(crate) fn drop_scope(&mut self, name: &str) -> Result<Vec<SystemEvent>, ManifestError> {
        if name == "_default" {
            return Err(ManifestError::DefaultScope);
        }
        let at = self.scopes.iter().position(|one| one.name == name);
        let scope = self.scopes.remove(at.ok_or_else(|| ManifestError::ScopeNotFound(name.to_owned()))?);
        // Only the last event carries the new uid (system_event.md, "Manifest ID").
        let before = self.uid;
        self.uid += 1;
        let end = |one: &Collection| SystemEvent {
            what: What::CollectionEnd { id: one.id },
            scope: scope.id,
            manifest_uid: before,
        };
        let mut events: Vec<SystemEvent> = scope.collections.iter().map(end).collect();
        events.push(SystemEvent { what: What::ScopeDrop, scope: scope.id, manifest_uid: self.uid });
        Ok(events)
    }

    /// The events that lead from nothing to the present scopes and collections.
    pub(crate) fn existing(&self) -> Vec<SystemEvent> {
        let mut events = Vec::new();
        for scope in &self.scopes {
            let mut add = |what| events.push(SystemEvent { what, scope: scope.id, manifest_uid: self.uid });
            if scope.id != 0 {
                add(What::ScopeCreate { name: scope.name.clone() });
            }
            for one in scope.collections.iter().filter(|one| one.id != 0) {
                add(What::CollectionBegin { id: one.id, name: one.name.clone(), max_ttl: one.max_ttl });
            }
        }
        events
    }

    /// The form that clients read, uids in hexadecimal.
    pub(crate) fn json(&self) -> Value {
        let collection = |one: &Collection| {
            let mut value = json!({"name": one.name, "uid": format!("{:x}", one.id)});
            if one.max_ttl > 0
                && let Some(fields) = value.as_object_mut()
            {
                fields.insert("maxTTL".into(), one.max_ttl.into());
            }
            value
        };
        let scope = |one: &Scope| {
            let collections: Vec<Value> = one.collections.iter().map(collection).collect();
            json!({"name": one.name, "uid": format!("{:x}", one.id), "collections": collections})
        };
        let scopes: Vec<Value> = self.scopes.iter().map(scope).collect();
        json!({"uid": format!("{:x}", self.uid), "scopes": scopes})
    }

    fn take_id(&mut self) -> u32 {
        self.uid += 1;
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

/// What a path names that is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Malformed,
    Scope,
    Collection,
}

/// A name as paths have it: none means `_default` (engines/ep/src/collections/manifest.cc, `getScopeID`, `getCollectionID`).
fn known_name(name: &str) -> Result<&str, Missing> {
    match name {
        "" => Ok("_default"),
        name if name.starts_with('_') || check_name(name).is_ok() => Ok(name),
        _ => Err(Missing::Malformed),
    }
}

/// `ns_server` `menelaus_web_collections.erl`, `scope_validators`.
fn check_name(name: &str) -> Result<(), ManifestError> {
    let allowed = |one: char| one.is_ascii_alphanumeric() || "_-%".contains(one);
    let length = name.chars().count();
    let wrong = if !(1..=251).contains(&length) {
        format!("Name length ({length}) must be in the range from 1 to 251, inclusive")
    } else if !name.chars().all(allowed) {
        "Can only contain characters A-Z, a-z, 0-9 and the following symbols _ - %".to_owned()
    } else if name.starts_with(['_', '%']) {
        "First character must not be _ or %".to_owned()
    } else {
        return Ok(());
    };
    Err(ManifestError::Name(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_start_at_eight_and_are_never_used_again() {
        let mut manifest = Manifest::default();
        manifest.create_scope("app").unwrap();
        let begin = manifest.create_collection("app", "cards", 0).unwrap();
        assert_eq!(begin.collection(), Some(9));
        assert_eq!(manifest.find("app.cards"), Ok((8, 9)));
        assert_eq!(manifest.find("."), Ok((0, 0)));
        assert_eq!(manifest.find("app.no"), Err(Missing::Collection));
        assert_eq!(manifest.find_scope("app.no"), Ok(8));
        assert_eq!(manifest.find_scope(""), Ok(0));
        assert_eq!(manifest.find_scope("no"), Err(Missing::Scope));
        for malformed in ["app", "app.cards.x", "a b.cards", "app.%x"] {
            assert_eq!(manifest.find(malformed), Err(Missing::Malformed), "{malformed}");
        }
        assert_eq!(manifest.find_scope("app.cards.x"), Err(Missing::Malformed));
        let end = manifest.drop_collection("app", "cards").unwrap();
        assert_eq!(end.key(), begin.key());
        assert_eq!(manifest.create_collection("app", "cards", 0).unwrap().collection(), Some(10));
        assert_eq!(manifest.json()["uid"], "4");
    }

    #[test]
    fn names_of_the_system_are_refused() {
        let mut manifest = Manifest::default();
        for name in ["", "_x", "%x", "a b"] {
            assert!(matches!(manifest.create_scope(name), Err(ManifestError::Name(_))), "{name}");
        }
        assert!(matches!(manifest.drop_scope("_default"), Err(ManifestError::DefaultScope)));
    }
}
