#!/usr/bin/env bash
# bare_root.sh [CHECK ARGUMENT…] - the two commands in a bare Debian 12, where nothing was installed by hand.
#
# debootstrap makes a minimal root in a temporary folder, from the mirror and with the apt settings of this machine (but
# not its passwords); a fresh clone of HEAD is put into it, and ./quickstart and ./check run there. Arguments go to that
# ./check: names of suites, for a shorter run. Skips (77) where the machine does not allow it. BARE_ROOT_DIR: where the
# temporary folder is made (default TMPDIR or /tmp; takes about 2 GB).
set -uo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
suite=bookworm
passed=0 failed=0 root=''

skip() {
    echo "skip bare_root: $1"
    echo "0 passed, 0 failed, 1 skipped"
    exit 77
}

# record FACT STATUS
record() {
    if [ "$2" -eq 0 ]; then
        echo "ok   $1"
        passed=$((passed + 1))
    else
        echo "FAIL $1"
        echo "     exit status $2"
        failed=$((failed + 1))
    fi
    return "$2"
}

finish() {
    echo "$passed passed, $failed failed, 0 skipped"
    [ "$failed" -eq 0 ]
    exit
}

# shellcheck disable=SC2317 # called by the trap
# /dev inside is the machine's own, so nothing is removed before it is unmounted.
clean_up() {
    local mounted
    [ -n "$root" ] || return 0
    for mounted in dev/pts dev/shm dev proc; do
        if mountpoint -q "$root/$mounted" && ! umount "$root/$mounted"; then
            echo "bare_root: $root/$mounted cannot be unmounted; the folder stays" >&2
            return 0
        fi
    done
    rm -rf --one-file-system "$root"
}

# The mirror and components of this machine's own apt.
mirror() {
    # shellcheck disable=SC2016 # the $(…) are apt's
    apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite=$suite '$2 == suite { print $1; exit }'
}

# Sources, settings and keys, so that apt in there reaches what apt here reaches; no auth.conf.
copy_apt_settings() {
    local part
    rm -f "$root/etc/apt/sources.list"
    for part in sources.list sources.list.d apt.conf apt.conf.d preferences preferences.d keyrings trusted.gpg.d; do
        if [ -e "/etc/apt/$part" ]; then cp -a "/etc/apt/$part" "$root/etc/apt/"; fi
    done
    mkdir -p "$root/usr/share/keyrings"
    cp -a /usr/share/keyrings/. "$root/usr/share/keyrings/"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

mount_kernel() {
    mount -t proc proc "$root/proc" && mount --bind /dev "$root/dev" &&
        mount --bind /dev/pts "$root/dev/pts" && mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
}

# inside COMMAND: as a newcomer who has just cloned the repository, with nothing of this shell but its proxies.
inside() {
    local proxies
    mapfile -t proxies < <(env | grep -iE '^(https?|no)_proxy=')
    env -i "${proxies[@]}" HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb \
        chroot "$root" bash -c "cd /root/penstock && $1"
}

[ "$(id -u)" = 0 ] || skip "needs root"
for program in debootstrap git mountpoint unshare; do
    command -v $program >/dev/null || skip "$program is not installed"
done
# In a mount namespace of its own: nobody else sees the mounts, and they end with the last process, however it ends.
if [ -z "${BARE_ROOT_PRIVATE-}" ]; then
    unshare --mount true 2>/dev/null || skip "mount namespaces are not allowed here"
    BARE_ROOT_PRIVATE=1 exec unshare --mount --propagation private "${BASH_SOURCE[0]}" "$@"
fi
git -C "$source_dir" rev-parse --verify -q HEAD >/dev/null || skip "$source_dir is no git repository with a commit"
site=$(mirror)
[ -n "$site" ] || skip "apt here has no lists of $suite (run apt-get update)"

trap clean_up EXIT
trap 'exit 130' INT TERM
root=$(mktemp -d "${BARE_ROOT_DIR:-${TMPDIR:-/tmp}}/penstock-bare-root.XXXXXX") || exit 1
chmod 755 "$root"
if ! debootstrap --variant=minbase "$suite" "$root" "$site"; then
    tail -n 20 "$root/debootstrap/debootstrap.log" 2>/dev/null
    skip "debootstrap did not succeed here"
fi
chroot "$root" true || skip "chroot does not work here"
mount_kernel || skip "mounting /proc and /dev is not allowed here"
copy_apt_settings
git clone -q --no-hardlinks "$source_dir" "$root/root/penstock" || exit 1

inside ./quickstart
record quickstart_works_on_a_bare_debian $? || finish
inside ./quickstart
record quickstart_works_a_second_time $?
inside "./check ${*@Q}"
record check_works_on_a_bare_debian $?
finish
