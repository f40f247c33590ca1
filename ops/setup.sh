#!/usr/bin/env bash
# Makes this checkout ready to run: programs, virtual environment, jars. Safe to repeat; a second run does nothing.
# On Debian as root it installs what is missing; anywhere else it says exactly what to install and exits 2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly STAMP=$VENV/ready
readonly INPUTS=(requirements-dev.txt pyproject.toml ops/stack/pom.xml ops/setup.sh)
readonly JAVA_MIN=17

main() {
    local digest
    digest=$(cat "${INPUTS[@]}" | sha256sum)
    if [[ -x $VENV/bin/python && -f $STAMP && $(<"$STAMP") == "$digest" ]] && programs_are_there; then
        return
    fi
    if ! programs_are_there; then
        install_programs
    fi
    make_environment
    say "fetching the engines' jars"
    "$VENV/bin/python" -m ops.stack.artifacts
    printf '%s\n' "$digest" >"$STAMP"
    say "ready"
}

say() {
    printf 'setup: %s\n' "$*" >&2
}

# Prints the first Python that is new enough and can make virtual environments; fails when there is none.
find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3; do
        if "$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

java_is_there() {
    local version
    version=$(java -version 2>&1 | sed -n '1s/[^"]*"\([0-9]*\).*/\1/p') || return 1
    [[ -n $version && $version -ge $JAVA_MIN ]]
}

postgres_is_there() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null
}

programs_are_there() {
    [[ -z $(missing_packages) ]]
}

# Debian's names of what is missing, one a line.
missing_packages() {
    find_python >/dev/null || printf '%s\n' python3 python3-venv
    java_is_there || echo openjdk-17-jre-headless
    command -v mvn >/dev/null || echo maven
    postgres_is_there || echo postgresql
    command -v setpriv >/dev/null || [[ $(uname -s) != Linux ]] || echo util-linux
}

install_programs() {
    local -a packages
    local had_postgres=no
    mapfile -t packages < <(missing_packages)
    if [[ $EUID -ne 0 || ! -f /etc/debian_version ]]; then
        say "please install (Debian's names): ${packages[*]}"
        say "needed: Python 3.11 with venv, Java $JAVA_MIN, Maven, a Postgres server (15 is the one tried)"
        exit 2
    fi
    ! postgres_is_there || had_postgres=yes
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null
    if [[ $had_postgres == no ]]; then
        stop_debians_cluster
    fi
    if ! programs_are_there; then
        say "still missing after installation: $(missing_packages | tr '\n' ' ')"
        exit 2
    fi
}

# Debian starts a cluster of its own with the package. Nobody asked for it: ours is another.
stop_debians_cluster() {
    local version name status
    while read -r version name _ status _; do
        if [[ $status == online* ]]; then
            pg_ctlcluster "$version" "$name" stop
        fi
    done < <(pg_lsclusters --no-header 2>/dev/null || true)
}

make_environment() {
    if [[ ! -x $VENV/bin/python ]]; then
        say "making the virtual environment"
        "$(find_python)" -m venv "$VENV"
    fi
    say "installing the locked requirements"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes --no-deps -r requirements-dev.txt
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-deps --no-build-isolation -e .
}

main "$@"
