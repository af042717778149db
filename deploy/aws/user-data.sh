#!/bin/bash
# Makes an EC2 instance a host with tollgate and the CloudWatch agent: Amazon Linux 2023, Debian 12 or newer, Ubuntu 22.04
# or newer. Give it to the instance as user data, with the four values below filled in. The app is somebody else's work:
# until it listens, requests are answered 503.
#
# It may run again: what is installed is brought up to date, a configuration that is there stays.
set -euo pipefail

# The package `make package` made, .deb or .tar.gz as the host needs it, at an address this host can fetch.
package_url=${TOLLGATE_PACKAGE_URL:-https://example.com/tollgate.deb}
# Its line in SHA256SUMS. Nothing else is installed.
package_sha256=${TOLLGATE_PACKAGE_SHA256:-}
# Gunicorn's --bind.
app=${TOLLGATE_APP:-unix:/run/gunicorn/app.sock}
# The subnets of the load balancer, as TOML.
trusted_proxies=${TOLLGATE_TRUSTED_PROXIES:-'["10.0.0.0/20", "10.0.16.0/20"]'}

# Where everything is put; another root than / is for tests.
root=${TOLLGATE_ROOT:-}
config=$root/etc/tollgate/tollgate.toml
agent=$root/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl

say() {
    echo "tollgate user data: $*"
}

distribution() {
    # shellcheck source=/dev/null
    (. "$root/etc/os-release" && echo "$ID")
}

# Before the package, which then starts tollgate. No secret is in it.
write_configuration() {
    if [ -e "$config" ]; then
        say "$config stays as it is"
        return
    fi
    install -d -m 0755 "$root/etc/tollgate"
    cat >"$config" <<END
[listen]
address = "0.0.0.0:8080"
trusted_proxies = $trusted_proxies
# Longer than the load balancer takes to notice that it is not ready.
drain_delay = "15s"

[upstream]
address = "$app"

[admin]
address = "unix:/run/tollgate/admin.sock"
ready_path = "/readyz"

[log]
access = "/var/log/tollgate/access.log"

[emf]
sink = "tcp://127.0.0.1:25888"
service = "api"
per = "10s"
log_group = "tollgate/metrics"

[store]
snapshot = "/var/lib/tollgate/limits.snapshot"

[limits.default]
rate = "600/minute"
mode = "shadow"
END
}

fetch() {
    curl --fail --silent --show-error --location --retry 5 --retry-all-errors --max-time 300 --output "$2" "$1"
}

fetch_package() {
    fetch "$package_url" "$1"
    echo "$package_sha256  $1" | sha256sum --check --quiet
}

install_on_debian() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -qy ca-certificates curl logrotate
    fetch_package "$work/tollgate.deb"
    apt-get install -qy -o Dpkg::Options::=--force-confold "$work/tollgate.deb"

    local architecture
    architecture=$(dpkg --print-architecture)
    fetch "https://amazoncloudwatch-agent.s3.amazonaws.com/$1/$architecture/latest/amazon-cloudwatch-agent.deb" \
        "$work/agent.deb"
    apt-get install -qy "$work/agent.deb"
}

install_on_amazon_linux() {
    dnf install -qy amazon-cloudwatch-agent logrotate tar gzip
    fetch_package "$work/tollgate.tar.gz"
    mkdir "$work/tollgate"
    tar --extract --gzip --file "$work/tollgate.tar.gz" --directory "$work/tollgate" --strip-components 1
    "$work/tollgate/install"
    systemctl enable --now logrotate.timer
}

# Records are the group's to read.
start_agent() {
    usermod -aG tollgate cwagent
    "$agent" -a fetch-config -m ec2 -s -c "file:/usr/share/doc/tollgate/examples/cloudwatch-agent.json"
}

start_tollgate() {
    tollgate check "$config"
    systemctl enable tollgate.service
    # A process that runs serves on; `systemctl restart tollgate` is the operator's to say.
    systemctl start tollgate.service
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

write_configuration
case "$(distribution)" in
debian) install_on_debian debian ;;
ubuntu) install_on_debian ubuntu ;;
amzn) install_on_amazon_linux ;;
*)
    say "knows Amazon Linux, Debian and Ubuntu, not \`$(distribution)\`" >&2
    exit 1
    ;;
esac
start_agent
start_tollgate
say "done"
