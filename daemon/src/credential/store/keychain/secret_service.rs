//! The Secret Service over D-Bus (<https://specifications.freedesktop.org/secret-service-spec/latest/>).
//!
//! The library that transfers the secrets raises a prompt for anything locked, and waits for the prompt without a
//! limit. So this module first finds out what is locked, on its own connection whose calls have a deadline.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keyring_core::api::CredentialStoreApi;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::blocking::{Connection, Proxy, connection};
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Type};
use zbus_secret_service_keyring_store::Store;

use crate::credential::store::{Item, StoreError};

/// Two connections to the service: ours for questions about locks, and the library's for secrets.
pub(super) struct Platform {
    bus: Connection,
    store: Arc<Store>,
}

impl Platform {
    pub(super) const PROTECTION: &str = "the keyring of this desktop session";

    pub(super) const EXPOSURE: &str = "every program of this user can read the tokens while the keyring is unlocked; \
        better: a daemon with a user of its own, `sudo regauthctl service install --for USER`";

    /// Connects to the session bus and the service on it.
    pub(super) fn connect() -> Result<Self, StoreError> {
        let bus = connection::Builder::session()
            .and_then(|builder| builder.method_timeout(CALL_TIMEOUT).build())
            .map_err(|error| StoreError::Unavailable(format!("there is no D-Bus session bus here ({error})")))?;
        // The library would wait for a service that hangs. This call has a deadline.
        let _: OwnedObjectPath = call(&bus, ROOT, SERVICE, "ReadAlias", &("default",))?;
        let store = Store::new().map_err(failure)?;
        Ok(Self { bus, store })
    }

    /// Calls `work` with an item's entry; `None` if there is no such item.
    pub(super) fn entry<T>(
        &self,
        service: &str,
        item: &Item,
        work: impl FnOnce(&keyring::Entry) -> keyring::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let (user, label) = (item.to_string(), label(service, item));
        self.ready(service, &user)?;
        let modifiers = HashMap::from([("label", label.as_str())]);
        let inner = self.store.build(service, &user, Some(&modifiers)).map_err(failure)?;
        match work(&keyring::Entry { inner }) {
            Ok(value) => Ok(Some(value)),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    pub(super) fn check(&self, _service: &str) -> Result<(), StoreError> {
        let collection = self.default_collection()?;
        if self.is_locked(&collection)? {
            self.open_silently(&[collection])?;
        }
        Ok(())
    }

    /// Unlocks the default collection and others that have our items. The service asks in its own window.
    pub(super) fn unlock(&self, service: &str) -> Result<(), StoreError> {
        let mut locked = self.search(&HashMap::from([("service", service)]))?.locked;
        locked.push(self.default_collection()?);
        let Some(prompt) = self.request_unlock(&locked)? else {
            return Ok(());
        };
        let prompt = Proxy::new(&self.bus, NAME, prompt, PROMPT).map_err(bus_failure)?;
        let mut completed = prompt.receive_signal("Completed").map_err(bus_failure)?;
        let _: () = prompt.call("Prompt", &("",)).map_err(bus_failure)?;
        let answer = completed
            .next()
            .ok_or_else(|| StoreError::Failed("the session bus closed during the prompt".to_owned()))?;
        let (dismissed, _result): (bool, OwnedValue) = answer.body().deserialize().map_err(bus_failure)?;
        if dismissed { Err(StoreError::Locked) } else { Ok(()) }
    }

    /// Checks that the library will not raise a prompt.
    fn ready(&self, service: &str, user: &str) -> Result<(), StoreError> {
        let found = self.search(&HashMap::from([("service", service), ("username", user)]))?;
        if !found.locked.is_empty() {
            return self.open_silently(&found.locked);
        }
        if !found.unlocked.is_empty() {
            return Ok(());
        }
        // Some services do not list the items of a locked collection, and a new item would go there.
        self.check(service)
    }

    fn search(&self, attributes: &HashMap<&str, &str>) -> Result<Found, StoreError> {
        let (unlocked, locked) = call(&self.bus, ROOT, SERVICE, "SearchItems", &(attributes,))?;
        Ok(Found { unlocked, locked })
    }

    fn default_collection(&self) -> Result<OwnedObjectPath, StoreError> {
        let path: OwnedObjectPath = call(&self.bus, ROOT, SERVICE, "ReadAlias", &("default",))?;
        if path.as_str() == NO_OBJECT {
            let message = "the keyring has no default collection; create one in its application";
            return Err(StoreError::Unavailable(message.to_owned()));
        }
        Ok(path)
    }

    fn is_locked(&self, collection: &OwnedObjectPath) -> Result<bool, StoreError> {
        let property = (COLLECTION, "Locked");
        let locked: OwnedValue = call(&self.bus, collection.as_str(), PROPERTIES, "Get", &property)?;
        bool::try_from(locked).map_err(|error| bus_failure(error.into()))
    }

    /// Unlocks what needs no prompt: a collection without a password counts as locked until the first request.
    fn open_silently(&self, paths: &[OwnedObjectPath]) -> Result<(), StoreError> {
        let Some(prompt) = self.request_unlock(paths)? else {
            return Ok(());
        };
        // The prompt was not shown. A service that ignores the dismissal only keeps an unused object.
        let _: Result<(), _> = call(&self.bus, prompt.as_str(), PROMPT, "Dismiss", &());
        Err(StoreError::Locked)
    }

    /// The prompt that a person must answer; `None` if everything is unlocked.
    fn request_unlock(&self, paths: &[OwnedObjectPath]) -> Result<Option<OwnedObjectPath>, StoreError> {
        let (_unlocked, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) =
            call(&self.bus, ROOT, SERVICE, "Unlock", &(paths,))?;
        Ok((prompt.as_str() != NO_OBJECT).then_some(prompt))
    }
}

struct Found {
    unlocked: Vec<OwnedObjectPath>,
    locked: Vec<OwnedObjectPath>,
}

/// Label of an item in a keyring viewer.
fn label(service: &str, item: &Item) -> String {
    match item {
        Item::Credential(name) => format!("{service}: token for {name}"),
        Item::Binding(name) => format!("{service}: use of the token for {name}"),
        Item::AuthorityKey(host) => format!("{service}: key of the authority for {host}"),
        Item::ProxyUrl => format!("{service}: URL of the company's proxy"),
    }
}

fn call<B, R>(bus: &Connection, path: &str, interface: &str, method: &str, body: &B) -> Result<R, StoreError>
where
    B: Serialize + DynamicType,
    R: DeserializeOwned + Type,
{
    let reply = bus
        .call_method(Some(NAME), path, Some(interface), method, body)
        .map_err(bus_failure)?;
    reply.body().deserialize().map_err(bus_failure)
}

fn bus_failure(error: zbus::Error) -> StoreError {
    match &error {
        zbus::Error::InputOutput(cause) if cause.kind() == io::ErrorKind::TimedOut => StoreError::NoAnswer,
        zbus::Error::MethodError(name, ..) if NO_SERVICE.contains(&name.as_str()) => StoreError::Unavailable(
            "there is no Secret Service on the session bus; gnome-keyring, KWallet or KeePassXC provides one"
                .to_owned(),
        ),
        _ => StoreError::Failed(error.to_string()),
    }
}

fn failure(error: keyring::Error) -> StoreError {
    match error {
        // It was unlocked a moment ago. A person locked it, and dismissed the prompt that this call raised.
        keyring::Error::NoStorageAccess(_) => StoreError::Locked,
        keyring::Error::Ambiguous(entries) => StoreError::Unusable(format!(
            "{} items in the keyring have this name; remove the registry and add it again",
            entries.len()
        )),
        keyring::Error::PlatformFailure(cause) => StoreError::Failed(cause.to_string()),
        error => StoreError::Failed(error.to_string()),
    }
}

/// Longer than any look-up of a working service, and shorter than the callers' deadlines.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Path that the specification uses for "no object".
const NO_OBJECT: &str = "/";

const NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "org.freedesktop.Secret.Collection";
const PROMPT: &str = "org.freedesktop.Secret.Prompt";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// D-Bus errors for a name that has no owner and cannot be started.
const NO_SERVICE: [&str; 5] = [
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
    "org.freedesktop.DBus.Error.Spawn.ChildExited",
    "org.freedesktop.DBus.Error.Spawn.ExecFailed",
];
