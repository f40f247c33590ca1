#!/usr/bin/env bash
# Builds the storage servers that integration tests speak to: real S3 (versitygw), and emulators of Cloud Storage,
# Pub/Sub and Azure. Safe to repeat; what is there already is left alone. On Debian as root it installs
# what building needs; anywhere else it says exactly what to install and exits 2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly BIN=$PWD/.cache/emulators
readonly VERSITYGW=github.com/versity/versitygw/cmd/versitygw@v1.8.0
readonly FAKE_GCS=github.com/fsouza/fake-gcs-server@v1.56.0
readonly AZURITE=azurite@3.37.0
readonly GO_MIN=21

main() {
    mkdir -p "$BIN"
    [[ -x $BIN/versitygw ]] || build versitygw "$VERSITYGW"
    [[ -x $BIN/fake-gcs-server ]] || build fake-gcs-server "$FAKE_GCS"
    [[ -x $BIN/pubsub ]] || build_pubsub
    [[ -x $BIN/azurite/node_modules/.bin/azurite ]] || install_azurite
}

say() {
    printf 'emulators: %s\n' "$*" >&2
}

# Go can fetch a newer version of itself from 1.21 on.
go_is_there() {
    local version
    version=$(go version 2>/dev/null | sed -n 's/.*go1\.\([0-9]*\).*/\1/p')
    [[ -n $version && $version -ge $GO_MIN ]]
}

need() {
    local program=$1 package=$2
    if [[ $EUID -eq 0 && -r /etc/debian_version ]]; then
        say "installing $package"
        apt-get install -y --no-install-recommends "$package" >&2
    else
        say "needs $program: install it (on Debian: apt-get install $package), then run this again"
        exit 2
    fi
}

need_go() {
    go_is_there && return
    need "Go 1.$GO_MIN or later" golang-go
    go_is_there && return
    # Debian 12 itself has 1.19; its backports have a newer one.
    say "needs Go 1.$GO_MIN or later: see https://go.dev/doc/install (Debian 12: golang from bookworm-backports)"
    exit 2
}

build() {
    need_go
    say "building $1 (once)"
    GOBIN=$BIN GOTOOLCHAIN=auto go install "$2"
}

build_pubsub() {
    need_go
    say "building pubsub (once)"
    (cd tests/emulators/pubsub && GOTOOLCHAIN=auto GOFLAGS=-mod=mod go build -o "$BIN/pubsub" .)
}

install_azurite() {
    command -v npm >/dev/null || need npm npm
    say "installing azurite (once)"
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$BIN/azurite" "$AZURITE" >&2
}

main
