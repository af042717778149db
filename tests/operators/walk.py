"""Runs every command of an operators' document, in order, on a host of its own.

The host is this machine's file system with a layer over it that is thrown away, a network of its own, and the real programs:
dpkg, nginx, Gunicorn, tollgate, curl. What is not here has a stand-in in shims/: systemd (systemctl, journalctl), and AWS, which
is moto. Blocks of TOML are what the reader writes into tollgate's configuration; blocks of `sh` are run by bash as they stand.

    walk.py BINARY DOCUMENT
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / "target/venv/bin"
CONFIGURATION = pathlib.Path("/etc/tollgate/tollgate.toml")
BLOCK_SECONDS = 120
DOCTOR = re.compile(r"(sudo )?tollgate cloudwatch doctor [^\n]*")
# What a document has its reader do before it begins.
BEGINS_INSTALLED = {"operations.md": False}
# A host has these from elsewhere.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "DEBIAN_FRONTEND": "noninteractive",
}


def blocks(document):
    """Kind and text of each fenced block, with the line it begins at."""
    lines, block = document.read_text().splitlines(), None
    for number, line in enumerate(lines, 1):
        if block is None and (found := re.match(r"```(\w*)\s*$", line)):
            block = (number, found.group(1), [])
        elif block is not None and line.startswith("```"):
            yield block[0], block[1], "\n".join(block[2])
            block = None
        elif block is not None:
            block[2].append(line)


def enter(binary, document):
    """Again, on a host that is thrown away."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        script = """
            set -euo pipefail
            mount --make-rprivate /
            mount -t tmpfs -o size=2g none "$1" && cd "$1" && mkdir upper work root
            mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
            mount --rbind /proc root/proc && mount --rbind /dev root/dev && mount -t tmpfs none root/run
            [ ! -e "$2/.git" ] || mount --bind -o ro "$2" "root$2"
            mkdir -p root/opt/aws/amazon-cloudwatch-agent/bin
            cp "$2/tests/operators/shims/amazon-cloudwatch-agent-ctl" root/opt/aws/amazon-cloudwatch-agent/bin/
            ip link set lo up
            exec chroot root "$3" "$4" --inside "$5" "$6"
        """
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            command.insert(0, "sudo")
        command += ["bash", "-c", script, "walk", scratch, str(ROOT), sys.executable, __file__, str(binary), str(document)]
        return subprocess.run(command, check=False).returncode


class Host:
    def __init__(self, binary, document):
        self.binary, self.document, self.desk = binary, document, pathlib.Path("/root/desk")
        path = [str(HERE / "shims"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        self.environment = ENVIRONMENT | {"PATH": ":".join(path), "TOLLGATE_VENV": str(VENV), "TOLLGATE_ROOT": str(ROOT)}

    def run(self, script, what):
        command, said = ["bash", "-euo", "pipefail", "-c", script], ""
        if "cloudwatch apply" in script:
            # It asks, at a terminal, and the reader says yes.
            command, said = ["script", "--quiet", "--return", "--command", shlex.join(command), "/dev/null"], "yes\n"
        try:
            done = subprocess.run(
                command, cwd=self.desk, env=self.environment, timeout=BLOCK_SECONDS, text=True,
                input=said, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"{what} does not end:\n{script}\n{error.stdout}") from None
        if done.returncode == 1 and DOCTOR.fullmatch(script.strip()) and "->" in done.stdout:
            # It is right: no agent runs here that would bring what it looks for.
            return done.stdout
        if done.returncode != 0:
            raise SystemExit(f"{what} ends with {done.returncode}:\n{script}\n\n{done.stdout}\n{self.events()}")
        if "jq " in script and re.search(r"(^|: )null,?$", done.stdout, re.MULTILINE):
            raise SystemExit(f"{what} asks for what is not there:\n{script}\n\n{done.stdout}")
        return done.stdout

    def events(self):
        file = pathlib.Path("/run/systemd-stand-in/tollgate.journal")
        return f"tollgate says:\n{file.read_text()}" if file.exists() else ""

    def prepare(self):
        """A host with an app, and on the desk what a release brings."""
        shutil.rmtree(self.desk, ignore_errors=True)
        (self.desk / "systemd").mkdir(parents=True)
        shutil.copy(self.binary, self.desk / "tollgate")
        for file in (ROOT / "systemd").iterdir():
            shutil.copy(file, self.desk / "systemd")
        for group in ("tollgate-app", "tollgate", "cwagent"):
            self.run(f"getent group {group} || groupadd --system {group}", "a group")
        for user in ("tollgate", "cwagent"):
            self.run(f"id {user} || useradd --system -g {user} {user}", "a user")
        self.run("usermod -aG tollgate-app tollgate", "a group")
        self.run("sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf; echo 127.0.0.1 api.example.com >> /etc/hosts", "names")
        self.package()
        self.run("systemctl start gunicorn", "the app")
        self.nginx()
        command = [str(VENV / "python3"), "-u", str(ROOT / "tests/app/aws.py")]
        aws = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | ENVIRONMENT)
        self.environment["AWS_ENDPOINT_URL"] = "http://" + aws.stdout.readline().removeprefix("listening at ").strip()

    def package(self):
        """The files of the package without its scripts: `make package` looks at the real one."""
        stage = self.desk / "stage"
        files = {
            self.binary: ("usr/bin/tollgate", 0o755),
            ROOT / "deploy/package/tollgate.toml": ("etc/tollgate/tollgate.toml", 0o640),
            ROOT / "deploy/cloudwatch-agent.json": ("usr/share/doc/tollgate/examples/cloudwatch-agent.json", 0o644),
            ROOT / "systemd/tollgate.service": ("usr/lib/systemd/system/tollgate.service", 0o644),
            ROOT / "systemd/tollgate.socket": ("usr/lib/systemd/system/tollgate.socket", 0o644),
            ROOT / "systemd/tollgate.sysusers.conf": ("usr/lib/sysusers.d/tollgate.conf", 0o644),
        }
        for source, (target, mode) in files.items():
            path = stage / target
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)
            path.chmod(mode)
        (stage / "DEBIAN").mkdir()
        control = "Package: tollgate\nVersion: 0.1.0-1\nArchitecture: amd64\nMaintainer: a test <a@example.com>\nDescription: a test\n"
        (stage / "DEBIAN/control").write_text(control)
        self.run("dpkg-deb --root-owner-group --build stage tollgate_0.1.0-1_amd64.deb", "the package")
        self.run("sha256sum tollgate_0.1.0-1_amd64.deb > SHA256SUMS", "its checksum")

    def nginx(self):
        """As deploy/README.md has it, with a certificate that this host trusts."""
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=api.example.com"
        self.run(f"""
            rm -rf /etc/nginx/sites-enabled /etc/nginx/conf.d/* && install -d /etc/nginx/snippets
            install -d /etc/ssl/site && cd /etc/ssl/site
            {made} -addext subjectAltName=DNS:api.example.com -keyout key.pem -out cert.pem 2>/dev/null
            install -d /etc/ssl/tollgate
            cp cert.pem /etc/ssl/tollgate/fullchain.pem
            cp key.pem /etc/ssl/tollgate/privkey.pem
            cat cert.pem >> /etc/ssl/certs/ca-certificates.crt
            cd {ROOT}/deploy
            install -m 644 nginx/00-tollgate.conf /etc/nginx/conf.d/
            install -m 644 nginx/upstream-unix.conf /etc/nginx/conf.d/tollgate-upstream.conf
            install -m 644 nginx/edge.conf /etc/nginx/conf.d/tollgate-client.conf
            install -m 644 nginx/tollgate-proxy.conf /etc/nginx/snippets/
            install -m 644 nginx/site.conf /etc/nginx/conf.d/api.conf
            sed -i 's/^user .*/user root;/' /etc/nginx/nginx.conf
            systemctl start nginx
        """, "nginx")

    def install(self):
        self.run("dpkg -i --force-confnew ./tollgate_0.1.0-1_amd64.deb", "the package")
        self.write('[upstream]\naddress = "unix:/run/gunicorn/app.sock"\nmax_in_flight = 8\n'
                   '[emf]\nsink = "tcp://127.0.0.1:25888"\nservice = "api"\nper = "10s"\nlog_group = "tollgate/metrics"\n')
        self.run("systemctl start tollgate", "tollgate")
        self.run("for path in / /json /nowhere; do curl -s http://127.0.0.1:8080$path >/dev/null; done; sleep 0.5", "requests")

    def write(self, toml):
        """What the reader writes into the configuration: its keys win."""
        (self.desk / "block.toml").write_text(toml)
        layers = f"--config {CONFIGURATION} --config block.toml"
        self.run(f"tollgate check --print {layers} > new.toml && install -m 640 new.toml {CONFIGURATION}", "the configuration")

    def walk(self):
        ran = 0
        for line, kind, text in blocks(self.document):
            what = f"{self.document.name}:{line}"
            if kind == "toml":
                self.write(text)
            elif kind == "sh":
                self.run(text, what)
                ran += 1
            elif kind not in ("ini", "", "json"):
                raise SystemExit(f"{what}: a block of `{kind}` that nobody reads")
        print(f"{self.document.name}: {ran} blocks of commands")


def main():
    arguments = sys.argv[1:]
    if arguments[0] != "--inside":
        return enter(pathlib.Path(arguments[0]).resolve(), pathlib.Path(arguments[1]).resolve())
    host = Host(pathlib.Path(arguments[1]), pathlib.Path(arguments[2]))
    host.prepare()
    if BEGINS_INSTALLED.get(host.document.name, True):
        host.install()
    begun = time.monotonic()
    host.walk()
    print(f"{time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
