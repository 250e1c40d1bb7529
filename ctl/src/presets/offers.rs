//! Table of what the products offer beside cargo: the URLs of their repositories of each kind, and the login that these
//! take, by their documentation.

/// Repositories of one kind, of one product.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Kind of registry.
    pub(crate) kind: &'static str,
    /// URL patterns of their scopes, as those of an index.
    pub(crate) patterns: &'static [&'static str],
    /// Login.
    pub(crate) login: Login,
}

/// Login that a repository takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Login of the product's cargo registries.
    OfPreset,
    /// A header by a scheme without a user name.
    Scheme(&'static str),
    /// Basic authentication with this user name.
    User(&'static str),
    /// Basic authentication with a user name of the person, who is asked for it by this text.
    OwnUser(&'static str),
}

/// Offers of a preset, by its name.
pub(super) fn of(preset: &str) -> &'static [Offer] {
    match preset {
        "artifactory" => &ARTIFACTORY,
        "azure" => &AZURE,
        "cloudsmith" => &CLOUDSMITH,
        "codeartifact" => &CODEARTIFACT,
        "gitea" => &GITEA,
        "github" => &GITHUB,
        "gitlab" => &GITLAB,
        "nexus" => &NEXUS,
        _ => &[],
    }
}

const fn offer(kind: &'static str, patterns: &'static [&'static str], login: Login) -> Offer {
    Offer { kind, patterns, login }
}

static ARTIFACTORY: [Offer; 9] = {
    use Login::OfPreset;
    [
        offer("maven", &["https://{host}/artifactory/{repository}/"], OfPreset),
        offer("npm", &["https://{host}/artifactory/api/npm/{repository}/"], OfPreset),
        offer("pypi", &["https://{host}/artifactory/api/pypi/{repository}/"], OfPreset),
        offer("go", &["https://{host}/artifactory/api/go/{repository}/"], OfPreset),
        offer(
            "rubygems",
            &["https://{host}/artifactory/api/gems/{repository}/"],
            OfPreset,
        ),
        offer(
            "composer",
            &["https://{host}/artifactory/api/composer/{repository}/"],
            OfPreset,
        ),
        offer(
            "nuget",
            &[
                "https://{host}/artifactory/api/nuget/v3/{repository}/",
                "https://{host}/artifactory/api/nuget/{repository}/",
            ],
            OfPreset,
        ),
        offer("apt", &["https://{host}/artifactory/{repository}/"], OfPreset),
        offer("oci", &["https://{host}/v2/"], Login::OwnUser("your JFrog user name")),
    ]
};

static AZURE: [Offer; 4] = {
    use Login::OfPreset;
    [
        offer(
            "npm",
            &[
                "https://pkgs.dev.azure.com/{organisation}/_packaging/{feed}/npm/registry/",
                "https://pkgs.dev.azure.com/{organisation}/{project}/_packaging/{feed}/npm/registry/",
            ],
            OfPreset,
        ),
        offer(
            "maven",
            &[
                "https://pkgs.dev.azure.com/{organisation}/_packaging/{feed}/maven/v1/",
                "https://pkgs.dev.azure.com/{organisation}/{project}/_packaging/{feed}/maven/v1/",
            ],
            OfPreset,
        ),
        offer(
            "pypi",
            &[
                "https://pkgs.dev.azure.com/{organisation}/_packaging/{feed}/pypi/",
                "https://pkgs.dev.azure.com/{organisation}/{project}/_packaging/{feed}/pypi/",
            ],
            OfPreset,
        ),
        offer(
            "nuget",
            &[
                "https://pkgs.dev.azure.com/{organisation}/_packaging/{feed}/nuget/v3/",
                "https://pkgs.dev.azure.com/{organisation}/{project}/_packaging/{feed}/nuget/v3/",
            ],
            OfPreset,
        ),
    ]
};

static CLOUDSMITH: [Offer; 5] = {
    const USER: Login = Login::OwnUser("your Cloudsmith user name, or `token` for an entitlement token");
    [
        offer(
            "npm",
            &["https://npm.cloudsmith.io/{owner}/{repository}/"],
            Login::Scheme("bearer"),
        ),
        offer(
            "maven",
            &["https://dl.cloudsmith.io/basic/{owner}/{repository}/maven/"],
            USER,
        ),
        offer(
            "pypi",
            &["https://dl.cloudsmith.io/basic/{owner}/{repository}/python/"],
            USER,
        ),
        offer(
            "rubygems",
            &["https://dl.cloudsmith.io/basic/{owner}/{repository}/ruby/"],
            USER,
        ),
        offer(
            "apt",
            &["https://dl.cloudsmith.io/basic/{owner}/{repository}/deb/{distribution}/"],
            USER,
        ),
    ]
};

static CODEARTIFACT: [Offer; 5] = {
    const USER: Login = Login::User("aws");
    [
        offer(
            "npm",
            &["https://{domain}.d.codeartifact.{region}.amazonaws.com/npm/{repository}/"],
            Login::Scheme("bearer"),
        ),
        offer(
            "pypi",
            &["https://{domain}.d.codeartifact.{region}.amazonaws.com/pypi/{repository}/"],
            USER,
        ),
        offer(
            "maven",
            &["https://{domain}.d.codeartifact.{region}.amazonaws.com/maven/{repository}/"],
            USER,
        ),
        offer(
            "nuget",
            &["https://{domain}.d.codeartifact.{region}.amazonaws.com/nuget/{repository}/"],
            USER,
        ),
        offer(
            "rubygems",
            &["https://{domain}.d.codeartifact.{region}.amazonaws.com/ruby/{repository}/"],
            USER,
        ),
    ]
};

static GITEA: [Offer; 9] = {
    const USER: Login = Login::OwnUser("your user name");
    [
        offer(
            "npm",
            &["https://{host}/api/packages/{owner}/npm/"],
            Login::Scheme("bearer"),
        ),
        offer("maven", &["https://{host}/api/packages/{owner}/maven/"], USER),
        offer("pypi", &["https://{host}/api/packages/{owner}/pypi/"], USER),
        offer("go", &["https://{host}/api/packages/{owner}/go/"], USER),
        offer("rubygems", &["https://{host}/api/packages/{owner}/rubygems/"], USER),
        offer("composer", &["https://{host}/api/packages/{owner}/composer/"], USER),
        offer("nuget", &["https://{host}/api/packages/{owner}/nuget/"], USER),
        offer("apt", &["https://{host}/api/packages/{owner}/debian/"], USER),
        offer("oci", &["https://{host}/v2/"], USER),
    ]
};

static GITHUB: [Offer; 5] = {
    const USER: Login = Login::OwnUser("your GitHub user name");
    [
        offer("npm", &["https://npm.pkg.github.com/"], Login::Scheme("bearer")),
        offer("maven", &["https://maven.pkg.github.com/{owner}/{repository}/"], USER),
        offer("rubygems", &["https://rubygems.pkg.github.com/{owner}/"], USER),
        offer("nuget", &["https://nuget.pkg.github.com/{owner}/"], USER),
        offer("oci", &["https://ghcr.io/v2/"], USER),
    ]
};

static GITLAB: [Offer; 8] = {
    const USER: Login = Login::OwnUser("your GitLab user name, or that of a deploy token");
    const HEADER: Login = Login::Scheme("Private-Token: {token}");
    [
        offer(
            "npm",
            &[
                "https://{host}/api/v4/projects/{id}/packages/npm/",
                "https://{host}/api/v4/groups/{id}/-/packages/npm/",
            ],
            Login::Scheme("bearer"),
        ),
        offer(
            "maven",
            &[
                "https://{host}/api/v4/projects/{id}/packages/maven/",
                "https://{host}/api/v4/groups/{id}/-/packages/maven/",
            ],
            HEADER,
        ),
        offer(
            "pypi",
            &[
                "https://{host}/api/v4/projects/{id}/packages/pypi/",
                "https://{host}/api/v4/groups/{id}/-/packages/pypi/",
            ],
            Login::User("__token__"),
        ),
        offer(
            "nuget",
            &[
                "https://{host}/api/v4/projects/{id}/packages/nuget/",
                "https://{host}/api/v4/groups/{id}/-/packages/nuget/",
            ],
            USER,
        ),
        offer(
            "composer",
            &["https://{host}/api/v4/group/{id}/-/packages/composer/"],
            HEADER,
        ),
        offer(
            "rubygems",
            &["https://{host}/api/v4/projects/{id}/packages/rubygems/"],
            Login::Scheme("raw"),
        ),
        offer("go", &["https://{host}/api/v4/projects/{id}/packages/go/"], USER),
        offer("apt", &["https://{host}/api/v4/projects/{id}/packages/debian/"], USER),
    ]
};

static NEXUS: [Offer; 7] = {
    const USER: Login = Login::OwnUser("your Nexus user name, or that of a user token");
    const PATTERN: &[&str] = &["https://{host}/repository/{repository}/"];
    [
        offer("maven", PATTERN, USER),
        offer("npm", PATTERN, USER),
        offer("pypi", PATTERN, USER),
        offer("go", PATTERN, USER),
        offer("rubygems", PATTERN, USER),
        offer("nuget", PATTERN, USER),
        offer("apt", PATTERN, USER),
    ]
};
