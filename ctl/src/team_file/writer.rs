//! Writes a team's file from definitions that the daemon exports.

use std::path::Path;

use regauth_shared::ErrorBody;
use regauth_shared::response::{Definition, Exported};
use toml_edit::{DocumentMut, Item, Table, value};

use super::FORMAT;
use super::certificates::{CaFile, read_bounded};
use crate::error;

/// Text of a team's file, and the CA files that belong beside it.
#[derive(Debug, Default)]
pub(crate) struct ExportedFile {
    /// Text of the file.
    pub(crate) text: String,
    /// Names and texts of the CA files.
    pub(crate) ca_files: Vec<(String, String)>,
    /// Sentences about what was left out.
    pub(crate) notes: Vec<String>,
}

/// Writes definitions as a team's file.
///
/// # Errors
/// A CA file of a registry cannot be read.
pub(crate) fn write(exported: &Exported) -> Result<ExportedFile, ErrorBody> {
    let mut file = ExportedFile::default();
    let mut registries = Table::new();
    registries.set_implicit(true);
    for definition in &exported.registries {
        let mut table = table(definition)?;
        drop_personal_username(definition, &mut table, &mut file.notes);
        if let Some(path) = &definition.ca_file {
            table.insert("ca-file", value(file.add_ca_file(definition, Path::new(path))?));
        }
        let left_out = definition.left_out.iter();
        file.notes
            .extend(left_out.map(|text| format!("left out of `{}`: {text}", definition.name)));
        table.decor_mut().set_prefix("\n");
        registries.insert(definition.name.as_str(), Item::Table(table));
    }
    let mut document = DocumentMut::new();
    document.insert("format", value(FORMAT));
    document.insert("registries", Item::Table(registries));
    file.text = format!("{HEAD}{document}");
    Ok(file)
}

impl ExportedFile {
    /// Adds a CA file unless one with the same text is there. Returns its name.
    fn add_ca_file(&mut self, definition: &Definition, path: &Path) -> Result<String, ErrorBody> {
        let text = read_bounded(path)?;
        if let Some((name, _)) = self.ca_files.iter().find(|(_, known)| *known == text) {
            return Ok(name.clone());
        }
        let name = format!("{}-ca.pem", definition.name);
        // A file with a private key beside the certificates must not be published.
        CaFile::parse(&name, text.clone())?;
        self.ca_files.push((name.clone(), text));
        Ok(name)
    }
}

fn table(definition: &Definition) -> Result<Table, ErrorBody> {
    let body: Result<DocumentMut, _> = definition.toml.parse();
    let body = body.map_err(|_| error::failed("regauthd sent a definition that is no TOML"))?;
    Ok(body.into_table())
}

/// Leaves out a user name that belongs to one person. Colleagues are asked for theirs.
fn drop_personal_username(definition: &Definition, table: &mut Table, notes: &mut Vec<String>) {
    let username = table.get("username").and_then(Item::as_str);
    let is_personal = username.is_some_and(|username| !SHARED_USERNAMES.contains(&username));
    if is_personal {
        table.remove("username");
        notes.push(format!(
            "left out of `{}`: its user name; each person is asked for one",
            definition.name
        ));
    }
}

/// User names that products define, the same for everybody.
const SHARED_USERNAMES: [&str; 6] = [
    "PAT",
    "x-access-token",
    "__token__",
    "oauth2accesstoken",
    "oauth2",
    "aws",
];

/// First lines of the file.
const HEAD: &str = "\
# Registries of this team, without tokens. Add those that you lack, and type your token:
#   regauthctl add-registry --from regauth.toml
";

#[cfg(test)]
mod tests {
    use regauth_shared::RegistryName;

    use super::*;
    use crate::team_file::{FILE_NAME, read};

    fn exported(toml: &str) -> Exported {
        Exported {
            registries: vec![Definition {
                name: "corp".parse::<RegistryName>().unwrap(),
                toml: toml.to_owned(),
                ca_file: None,
                left_out: vec![],
            }],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let toml = "index = \"sparse+https://corp.example/index/\"\nscopes = [\n    \"https://a.example/\",\n    \
                    \"https://b.example/\",\n]\nscheme = \"X-Key: {token}\"\nread-ahead = false\nrejected-by = [401]\n\
                    source = { exchange = \"jfrog\", host = \"h\", provider = \"p\" }\n";
        let file = write(&exported(toml)).unwrap();
        let read = read(&file.text, FILE_NAME).unwrap_or_else(|error| panic!("{}\n{}", error.message, file.text));
        let corp = &read[0];
        assert_eq!(corp.scopes, ["https://a.example/", "https://b.example/"]);
        assert_eq!(corp.scheme.as_deref(), Some("X-Key: {token}"));
        assert_eq!(corp.source.as_deref(), Some("jfrog:host=h,provider=p"));
        assert_eq!((corp.read_ahead, &corp.rejected_by[..]), (Some(false), &[401][..]));
    }

    #[test]
    fn a_personal_user_name_is_left_out_and_a_shared_one_stays() {
        for (username, stays) in [("me@corp.example", false), ("PAT", true)] {
            let file = write(&exported(&format!("scheme = \"basic\"\nusername = \"{username}\"\n"))).unwrap();
            assert_eq!(file.text.contains(username), stays, "{}", file.text);
            assert_eq!(file.notes.is_empty(), stays);
        }
    }
}
