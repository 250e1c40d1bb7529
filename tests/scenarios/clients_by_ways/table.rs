//! The clients with their scripts, and what their servers serve.

use super::{Client, Way};

/// Every client. The variables of `Servers::variables` are in its scripts.
pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "cargo",
        prepare: r#"
            mkdir -p gift/src project/src && touch gift/src/lib.rs project/src/lib.rs
            printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\nlicense = "MIT"\ndescription = "a"\n' gift >gift/Cargo.toml
            printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n' project >project/Cargo.toml
            echo 'ship = { version = "1", registry = "crates" }' >>project/Cargo.toml"#,
        read: "cd project && cargo fetch",
        upload: "cd gift && cargo publish --registry crates --no-verify --allow-dirty",
        ..CLIENT
    },
    Client {
        name: "git",
        prepare: "git init -q --initial-branch gift gift
            git -C gift -c user.name=me -c user.email=me@corp.example commit -q --allow-empty --message gold",
        read: "git clone --branch gift $CODE clone",
        upload: "git -C gift push $CODE gift",
        ..CLIENT
    },
    Client {
        name: "pip",
        read: "python3 -m pip install --no-input --target read --index-url $PYPI/simple/ treasure",
        ..CLIENT
    },
    Client {
        name: "uv",
        read: "$PYTHON/uv pip install --target read --index-url $PYPI/simple/ gift_uv",
        upload: "export UV_PUBLISH_USERNAME=x UV_PUBLISH_PASSWORD=x
            $PYTHON/uv publish --publish-url $PYPI/ gift_uv-*.whl",
        ..CLIENT
    },
    Client {
        name: "twine",
        read: "python3 -m pip install --no-input --target read --index-url $PYPI/simple/ gift_twine",
        upload: "export TWINE_USERNAME=x TWINE_PASSWORD=x
            $PYTHON/twine upload --non-interactive --disable-progress-bar --repository-url $PYPI/ gift_twine-*.whl",
        ..CLIENT
    },
    Client {
        name: "pdm",
        prepare: r#"mkdir dist && cp gift_pdm-*.whl dist/
            printf '[project]\nname = "project"\nversion = "1.0"\nrequires-python = ">=3.11"\n' >pyproject.toml
            printf 'dependencies = ["gift_pdm==1.0"]\n[[tool.pdm.source]]\nname = "pypi"\nurl = "%s"\n' $PYPI/simple/ >>pyproject.toml"#,
        read: "$PYTHON_CLIENTS/pdm lock",
        upload: "$PYTHON_CLIENTS/pdm publish --no-build -r $PYPI/ -u x -P x",
        ..CLIENT
    },
    Client {
        name: "poetry",
        prepare: r#"
            printf '[project]\nname = "project"\nversion = "1.0"\nrequires-python = ">=3.11"\n' >pyproject.toml
            printf 'dependencies = ["treasure==1.0"]\n[[tool.poetry.source]]\nname = "corp"\nurl = "%s"\n' $PYPI/simple/ >>pyproject.toml
            mkdir -p gift/dist && cp gift_poetry-*.whl gift/dist/
            printf '[project]\nname = "gift_poetry"\nversion = "1.0"\n' >gift/pyproject.toml"#,
        read: "$PYTHON_CLIENTS/poetry lock",
        upload: "cd gift && POETRY_REPOSITORIES_CORP_URL=$PYPI/ $PYTHON_CLIENTS/poetry publish --no-interaction --repository corp",
        ..CLIENT
    },
    Client {
        name: "npm",
        prepare: NODE_PROJECTS,
        read: "cd project && npm install --no-audit --no-fund && test -d node_modules/gift-npm",
        upload: "cd gift && npm publish",
        ..CLIENT
    },
    Client {
        name: "pnpm",
        prepare: NODE_PROJECTS,
        read: "cd project && node $NODE_CLIENTS/pnpm/bin/pnpm.mjs install && test -d node_modules/gift-pnpm",
        upload: "cd gift && node $NODE_CLIENTS/pnpm/bin/pnpm.mjs publish --no-git-checks",
        ..CLIENT
    },
    Client {
        name: "yarn-classic",
        prepare: NODE_PROJECTS,
        read: "cd project && node $NODE_CLIENTS/yarn-classic/bin/yarn.js install --non-interactive",
        upload: "cd gift && node $NODE_CLIENTS/yarn-classic/bin/yarn.js publish --non-interactive",
        ..CLIENT
    },
    Client {
        name: "yarn-berry",
        prepare: BERRY_PROJECTS,
        read: "cd project && node $NODE_CLIENTS/@yarnpkg/cli-dist/bin/yarn.js install",
        upload: "export YARN_NPM_AUTH_TOKEN=x
            cd gift && node $NODE_CLIENTS/@yarnpkg/cli-dist/bin/yarn.js npm publish",
        ..CLIENT
    },
    Client {
        name: "bun",
        prepare: NODE_PROJECTS,
        read: "cd project && $NODE_CLIENTS/@oven/bun-linux-*/bin/bun install && test -d node_modules/gift-bun",
        upload: "cd gift && $NODE_CLIENTS/@oven/bun-linux-*/bin/bun publish",
        ..CLIENT
    },
    Client {
        name: "gem",
        prepare: r#"
            echo 'Gem::Specification.new { |gem| gem.name, gem.version, gem.summary, gem.authors = "gift", "1.0", "a", ["me"] }' >a.gemspec
            gem build --quiet a.gemspec --output gift.gem"#,
        read: "gem install treasure --clear-sources --source $FILES/ --install-dir read --no-document",
        upload: "gem push gift.gem --host $GEMS",
        ..CLIENT
    },
    Client {
        name: "bundler",
        prepare: "printf 'source \"%s/\"\\ngem \"treasure\"\\n' $FILES >Gemfile",
        read: "BUNDLE_RETRY=0 BUNDLE_PATH=read bundle install",
        of_grant: "printf 'http_proxy: %s\\n:ssl_ca_cert: %s\\n' $HTTPS_PROXY $SSL_CERT_FILE >.gemrc",
        ..CLIENT
    },
    Client {
        name: "go",
        prepare: "printf 'module example.org/project\\n\\ngo 1.19\\n' >go.mod",
        read: "go get corp.example/treasure@latest",
        ..CLIENT
    },
    Client {
        name: "composer",
        prepare: r#"printf '{"repositories":[{"packagist.org":false},{"type":"composer","url":"%s/composer"}],' $FILES >composer.json
            echo '"require":{"corp/treasure":"1.0.0"}}' >>composer.json"#,
        read: "composer --no-interaction --no-cache install",
        ..CLIENT
    },
    Client {
        name: "gradle",
        prepare: r#"
            echo gold >gift.txt && echo "rootProject.name = 'gift'" >settings.gradle
            cat >build.gradle <<END
                apply plugin: 'ivy-publish'
                repositories { maven { url '$FILES/maven' } }
                configurations { wanted }
                dependencies { wanted 'corp:treasure:1' }
                task show { doLast { configurations.wanted.each { println it.name } } }
                publishing {
                    repositories { ivy { url '$FILES/ivy' } }
                    publications { gift(IvyPublication) { organisation 'corp'; revision '1'; artifact file('gift.txt') } }
                }
END"#,
        read: "gradle --no-daemon --gradle-user-home .gradle --quiet show",
        upload: "gradle --no-daemon --gradle-user-home .gradle --quiet publish",
        ways: &[Way::Run],
        ..CLIENT
    },
    Client {
        name: "skopeo",
        read: "skopeo inspect --raw ${IMAGES}gift:1",
        upload: "skopeo --insecure-policy copy $SAMPLE ${IMAGES}gift:1",
        ..CLIENT
    },
    Client {
        name: "curl",
        prepare: "echo gold >gift",
        read: "curl -sS --fail-with-body $FILES/treasure.txt",
        upload: "curl -sS --fail-with-body -T gift $FILES/gift-of-curl",
        ..CLIENT
    },
    Client {
        name: "wget",
        prepare: "echo gold >gift",
        read: "wget -nv -O- --tries=1 $FILES/treasure.txt",
        upload: "wget -nv -O- --tries=1 --method=PUT --body-file=gift $FILES/gift-of-wget",
        of_grant: "echo ca_certificate = $SSL_CERT_FILE >.wgetrc",
        ways: FILES_ONLY,
    },
    Client {
        name: "aria2",
        read: "aria2c --quiet --max-tries=1 --allow-overwrite=true $FILES/treasure.txt",
        of_grant: "mkdir -p .config/aria2 && echo ca-certificate=$SSL_CERT_FILE >.config/aria2/aria2.conf",
        ways: FILES_ONLY,
        ..CLIENT
    },
    Client {
        name: "mercurial",
        prepare: "hg init gift && cd gift && echo more >more && hg commit -qAu me -m two",
        read: "hg clone --noninteractive $HG clone",
        upload: "hg -R gift push --noninteractive --force $HG",
        of_grant: "printf '[http_proxy]\\nalways = True\\nhost = %s\\n[web]\\ncacerts = %s\\n' $HTTPS_PROXY $SSL_CERT_FILE >.hgrc",
        ways: FILES_ONLY,
    },
];

/// Package that is called as the home, and a project that needs it. Each wants a token in its file to publish.
const NODE_PROJECTS: &str = r#"
    gift=gift-$(basename "$PWD") && mkdir gift project
    printf '{"name":"%s","version":"1.0.0","license":"MIT"}' $gift >gift/package.json
    printf '{"name":"project","version":"1.0.0","license":"MIT","dependencies":{"%s":"1.0.0"}}' $gift >project/package.json
    printf 'registry=%s\n%s:_authToken=x\nfetch-retries=0\n' $NPM ${NPM#https:} >.npmrc"#;

const BERRY_PROJECTS: &str = r#"
    mkdir gift project
    echo '{"name":"gift-berry","version":"1.0.0","license":"MIT"}' >gift/package.json
    echo '{"name":"project","version":"1.0.0","license":"MIT","dependencies":{"gift-berry":"1.0.0"}}' >project/package.json
    printf 'npmRegistryServer: "%s"\nnodeLinker: node-modules\nenableTelemetry: false\nnpmMinimalAgeGate: 0\n' $NPM >.yarnrc.yml
    echo 'enableGlobalCache: false' >>.yarnrc.yml
    touch gift/yarn.lock project/yarn.lock
    cd gift && node $NODE_CLIENTS/@yarnpkg/cli-dist/bin/yarn.js install"#;

/// Settings of the clients themselves.
pub(super) const OF_CLIENTS: [(&str, &str); 9] = [
    ("COMPOSER_ALLOW_SUPERUSER", "1"),
    // Yarn 1 ignores the home folder of root, but not of a fake root.
    ("FAKEROOTKEY", "1"),
    ("GEM_HOST_API_KEY", "x"),
    ("GOFLAGS", "-modcacherw"),
    // Java sends loopback past a proxy unless told otherwise.
    ("JAVA_TOOL_OPTIONS", "-Dhttp.nonProxyHosts="),
    ("GONOSUMDB", "*"),
    ("PDM_CHECK_UPDATE", "0"),
    // It would repeat for a minute what fails without regauth.
    ("PNPM_CONFIG_FETCH_RETRIES", "0"),
    ("UV_PYTHON_DOWNLOADS", "never"),
];

/// Content of the file server: repositories of gems, Go modules and Composer packages.
pub(super) const FILES: &str = r#"
echo 'Gem::Specification.new { |gem| gem.name, gem.version, gem.summary, gem.authors = "treasure", "1.0", "gold", ["me"] }' >a.gemspec
mkdir gems && gem build --quiet a.gemspec --output gems/treasure-1.0.gem && gem generate_index -d .
mkdir -p go/corp.example/treasure/@v && cd go/corp.example/treasure/@v
echo v1.0.0 >list && echo '{"Version":"v1.0.0"}' >v1.0.0.info && echo 'module corp.example/treasure' >v1.0.0.mod
echo 'package treasure' >gold.go
python3 -c 'import zipfile; zipfile.ZipFile("v1.0.0.zip", "w").write("gold.go", "corp.example/treasure@v1.0.0/gold.go")'
cd - && mkdir -p maven/corp/treasure/1 && echo gold >maven/corp/treasure/1/treasure-1.jar
echo '<project><modelVersion>4.0.0</modelVersion><groupId>corp</groupId><artifactId>treasure</artifactId><version>1</version></project>' \
    >maven/corp/treasure/1/treasure-1.pom
mkdir composer && cd composer
mkdir treasure && echo '{"name":"corp/treasure"}' >treasure/composer.json
python3 -m zipfile -c treasure.zip treasure/composer.json
echo '{"packages":{"corp/treasure":{"1.0.0":{"name":"corp/treasure","version":"1.0.0",' >packages.json
echo '"dist":{"type":"zip","url":"URL/composer/treasure.zip"}}}}}' >>packages.json
"#;

pub(super) const GEM_SERVER: &str = "#!/bin/sh
printf 'Status: 200\\r\\nContent-Type: text/plain\\r\\n\\r\\n'
case $REQUEST_METHOD$PATH_INFO in
  POST/api/v1/gems) cat >$HOME/pushed; echo Registered ;;
  *) echo gold ;;
esac
";

pub(super) const HG_SERVER: &str = "#!/usr/bin/python3
import os
from mercurial.hgweb import hgweb, wsgicgi
wsgicgi.launch(hgweb(os.environb[b'HOME'] + b'/repository', b'repository'))
";

const CLIENT: Client = Client {
    name: "",
    prepare: "",
    read: "",
    upload: "",
    of_grant: "",
    ways: &[Way::Run, Way::Grant],
};

/// It reads no variable for the bundle, so `run` does not reach it. With a grant, its file has the rest.
const FILES_ONLY: &[Way] = &[Way::Grant];
