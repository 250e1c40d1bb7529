//! Shell completion.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::Daemon;
use regauth_tests::programs::binary;
use regauth_tests::registry::Registry;
use regauth_tests::user::User;

/// Real bash that has loaded the completion script, called as its Tab key calls it.
#[test]
fn bash_completes_the_current_registries() {
    let (registry, other) = (
        Registry::builder(Scheme::bearer(), "t0ken-one").start(),
        Registry::builder(Scheme::bearer(), "t0ken-two").start(),
    );
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let user = User::new(&daemon);
    let offered = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let folder = binary("regauthctl").parent().unwrap().display().to_string();
        let script = format!(
            "PATH={folder}:$PATH; source <(regauthctl completions bash); COMP_WORDS=({line}{}) COMP_CWORD={} \
             COMP_TYPE=9; $(complete -p regauthctl | grep -o -- '-F [^ ]*' | cut -c4-) regauthctl '{}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            if line.ends_with(' ') { "''" } else { "" },
            words.len() - 1,
            words[words.len() - 1],
        );
        let output = user.run("bash", &["-c", &script]).succeeds().stdout;
        output.lines().map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    };
    assert!(offered("regauthctl rot").contains(&"rotate".to_owned()));
    assert!(offered("regauthctl rotate ").contains(&"corp".to_owned()));
    assert!(!offered("regauthctl rotate ").contains(&"other".to_owned()));
    daemon.add("other", &other);
    assert_eq!(offered("regauthctl show o"), ["other"]);
    assert!(!offered("regauthctl add-registry ").contains(&"corp".to_owned()));
}
