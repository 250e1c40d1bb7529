//! Environment variables that hold secrets of a job: its identity, or the token that it asks for its identity with.

/// Variables of the CI systems that regauth knows. The daemon takes them out of its environment, and `regauthctl run` out
/// of the command's.
pub const OF_CI_SYSTEMS: [&str; 6] = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "REGAUTH_ID_TOKEN",
    "CIRCLE_OIDC_TOKEN_V2",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BITBUCKET_STEP_OIDC_TOKEN",
    "SYSTEM_ACCESSTOKEN",
];

/// Variables that a source names as `env:VARIABLE`, such as `identity=env:CORP_ID`.
///
/// ```
/// use regauth_shared::secret_variables::named_in;
///
/// let source = "github-app:client-id=a,private-key=env:APP_KEY,identity=file:/run/id";
/// assert_eq!(named_in(source).collect::<Vec<_>>(), ["APP_KEY"]);
/// assert_eq!(named_in("env:CORP_TOKEN").collect::<Vec<_>>(), ["CORP_TOKEN"]);
/// ```
pub fn named_in(source: &str) -> impl Iterator<Item = &str> {
    let values = source
        .split(',')
        .map(|pair| pair.rsplit_once('=').map_or(pair, |(_, value)| value));
    values.filter_map(|value| value.strip_prefix("env:"))
}
