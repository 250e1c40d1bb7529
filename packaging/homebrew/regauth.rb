# `packaging/build brew` inserts the version and the checksum of the source archive. Replace @URL@ by the URL of its folder.
class Regauth < Formula
  desc "Local proxy that attaches registry credentials to the requests of build tools"
  url "@URL@/regauth-@VERSION@.tar.gz"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "cmake" => :build
  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args(path: "daemon")
    system "cargo", "install", *std_cargo_args(path: "ctl")
    (man1/"regauthd.1").write Utils.safe_popen_read(bin/"regauthd", "--man-page")
    system bin/"regauthctl", "man", "--folder", man1
    man5.install "packaging/man/regauth-config.5"
    pkgshare.install "packaging/config.schema.json"
    (pkgshare/"monitoring").install Dir["packaging/monitoring/*"]
    generate_completions_from_executable(bin/"regauthctl", "completions")
  end

  def caveats
    "To run it as a service of launchd or systemd: regauthctl service install"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/regauthd --version")
    assert_match "no regauthd is running here", shell_output("#{bin}/regauthctl --home #{testpath} status 2>&1", 3)
  end
end
