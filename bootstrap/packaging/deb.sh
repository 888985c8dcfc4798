#!/usr/bin/env bash
# deb.sh BIN - build/qsfs_VERSION_ARCH.deb from the programs in BIN and this tree; needs dpkg-deb, strip and gzip only.
# Dependencies are the packages of the libraries that the programs load.
set -eu
cd "$(dirname "$0")/../.."
bin=$1
version=$(sed -n 's/^#define QSFS_VERSION "\(.*\)"$/\1/p' common/version.h)
architecture=$(dpkg --print-architecture)
package=build/qsfs_${version}_$architecture.deb
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
chmod 0755 "$root"

if [ "$(sed -n '1s/^qsfs (\(.*\)) .*/\1/p' bootstrap/packaging/changelog)" != "$version" ]; then
    echo "deb: the first entry of bootstrap/packaging/changelog is not of version $version" >&2
    exit 1
fi

# directory MODE FILE...: installed there
into()
{
    local directory=$root/$1 mode=$2
    shift 2
    install -d -m 0755 "$directory"
    install -m "$mode" "$@" "$directory"
}

into usr/bin 0755 "$bin/zdb" "$bin/zdbfs" "$bin/zstor" bootstrap/packaging/qsfs
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root"/usr/bin/z*
into usr/lib/qsfs/bootstrap 0755 bootstrap/bootstrap.sh bootstrap/qsfs bootstrap/qsfs-units bootstrap/toml2yaml.py
into usr/lib/qsfs/bootstrap 0644 bootstrap/packages.sh bootstrap/qsfs-status bootstrap/qsfs-doctor bootstrap/qsfs-kit bootstrap/qsfs-recover
into etc/apparmor.d 0644 bootstrap/packaging/apparmor/qsfs
into usr/lib/qsfs/hooks 0755 hooks/zdb-hook.sh
into usr/share/doc/qsfs/examples 0644 bootstrap/zstor.example.yaml docs/examples/zstor-all-keys.yaml
into usr/share/doc/qsfs/watch 0644 bootstrap/packaging/watch/*
into usr/share/doc/qsfs 0644 bootstrap/packaging/copyright README.md docs/*.md
gzip -9n <bootstrap/packaging/changelog >"$root/usr/share/doc/qsfs/changelog.gz"
for page in docs/man/*; do
    section=${page##*.}
    install -d -m 0755 "$root/usr/share/man/man$section"
    gzip -9n <"$page" >"$root/usr/share/man/man$section/${page##*/}.gz"
done
into usr/share/bash-completion/completions 0644 bootstrap/packaging/completions/bash/*
into usr/share/zsh/vendor-completions 0644 bootstrap/packaging/completions/zsh/*
into usr/share/fish/vendor_completions.d 0644 bootstrap/packaging/completions/fish/*

# libc6, libfuse3-3 ...: who owns what the programs load
depends=$(for program in "$bin"/zdb "$bin"/zdbfs "$bin"/zstor; do
    readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' | while read -r library; do
        path=$(ldd "$program" | awk -v name="$library" '$1 == name { print $3 }')
        # /lib may be a link to /usr/lib: the package lists either name
        dpkg-query -S "$path" 2>/dev/null || dpkg-query -S "/usr$path" 2>/dev/null || dpkg-query -S "${path#/usr}"
    done
done | sed 's/:.*//' | sort -u | paste -sd, | sed 's/,/, /g')

install -d -m 0755 "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<END
Package: qsfs
Version: $version
Architecture: $architecture
Maintainer: qsfs maintainers <maintainers@users.noreply.r-seed-6943dfd9.example>
Section: utils
Priority: optional
Depends: $depends, fuse3
Recommends: python3
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Description: quantum storage filesystem
 A filesystem whose data is encrypted, dispersed over several storage
 servers, and readable again from any sufficient part of them: zdbfs
 mounts it, zdb keeps it in append-only files, zstor stores these
 files remotely and fetches them back.
 .
 "qsfs bootstrap" makes an installation of the calling user.
END
echo /etc/apparmor.d/qsfs >"$root/DEBIAN/conffiles"
(cd "$root" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$(date -d "$(sed -n 's/^ -- .*>  //p' bootstrap/packaging/changelog | head -n 1)" +%s)" -print0 |
    xargs -0r touch -h -d "$(sed -n 's/^ -- .*>  //p' bootstrap/packaging/changelog | head -n 1)"
mkdir -p build
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
