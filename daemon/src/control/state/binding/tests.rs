use super::*;

fn registry(ca_file: &std::path::Path) -> Registry {
    let text = format!("[registries.corp]\nscopes = [\"https://corp.example/\"]\nca-file = {ca_file:?}\n");
    let mut config = Config::read(&text).unwrap();
    config.registries.pop_first().unwrap().1
}

/// A self-signed certificate as PEM.
fn certificate() -> String {
    let certified = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap();
    certified.cert.pem()
}

#[test]
fn certificates_that_replace_the_compared_ones_are_not_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate()).unwrap();
    let configured = registry(&file);
    let compared = token_use(&configured);
    assert_eq!(compared.roots.len(), 1);
    let checked = configured.with_bound_roots(compared.roots.clone());
    std::fs::write(&file, certificate()).unwrap();
    assert_eq!(token_use(&checked), compared);
    assert!(token_use(&configured).roots.is_disjoint(&compared.roots));
}
