#!/bin/bash
# Prepares what the lab boots: QEMU, a kernel with VFIO, an initramfs and the guest's network tools.
#
#   setup.sh [STAGE...]   adds optional stages: "qemu11" is a QEMU with vfio-user-pci, and iPXE; "qemuserver" is one
#                         that serves its own models by vfio-user (built from source, which takes five to ten minutes);
#                         "dpdk" is testpmd; "wireshark" is tshark with dumpcap, editcap and their like
#
# Everything comes from Debian packages and is unpacked into a cache folder; the host installs nothing. Each stage is
# one folder, named after a hash of its recipe and moved into place when complete, so that the name alone says whether
# there is anything to do: a second run touches no network, an interrupted one starts its stage again (finished
# downloads are kept), and work trees with different recipes can share a cache. Progress goes to standard error; what
# vm.ts needs to know goes to standard output, as `stage=folder` lines.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${BAREWIRE_LAB_CACHE:-$here/../../.cache/lab}
libs=usr/lib/x86_64-linux-gnu

say() { printf 'lab setup: [%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { say "$*"; exit 1; }
retry() {
  local pause
  for pause in 5 15 30 0; do
    "$@" >&2 && return
    [ "$pause" = 0 ] || { say "failed, again in $pause s: $*"; sleep "$pause"; }
  done
  die "gave up: $*"
}

[ "$(id -u)" = 0 ] || die 'must run as root: it makes a chroot with device nodes, and QEMU shares / with the guest'
mkdir -p "$cache" && cache=$(cd "$cache" && pwd)

# suite NAME: makes apt-get work on that Debian suite, in a private state that says no package is installed. So a
# package's closure of dependencies is complete, and the host's own state is neither read nor changed.
suite() {
  local state=$cache/apt/$1 mirror
  export APT_CONFIG=$state/apt.conf
  [ ! -e "$state/updated" ] || return 0
  # The mirror is the one this machine already uses for its own Debian release.
  mirror=$(env -u APT_CONFIG apt-get indextargets --no-release-info --format '$(SITE) $(RELEASE)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" '$2 == release { print $1; exit }')
  [ -n "$mirror" ] || die "apt knows no Debian mirror: the lab needs a Debian 12 (or later) machine"
  mkdir -p "$state"/lists/partial "$state"/cache
  : > "$state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" > "$state/sources.list"
  cat > "$APT_CONFIG" <<END
Dir::Etc::sourcelist "$state/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Retries "3";
Acquire::Languages "none";
END
  retry apt-get -qq --error-on=any update
  touch "$state/updated"
}

# unpack FOLDER PACKAGE...: the packages and all they depend on
unpack() {
  local folder=$1 debs=$cache/debs/$stage-$1 deb
  shift
  mkdir -p "$debs/partial" "$folder"
  apt-get -qq -o "Dir::Cache::archives=$debs" autoclean >&2
  retry apt-get -qq -y -o "Dir::Cache::archives=$debs" --download-only install "$@"
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$folder"; done
}

# alone PACKAGE: downloads one package without its dependencies and prints the path of its file
alone() {
  local debs=$cache/debs/$stage-alone
  mkdir -p "$debs"
  (cd "$debs" && rm -f "$1"_*.deb && retry apt-get -qq download "$1" && ls "$PWD/$1"_*.deb)
}

# launcher FILE PROGRAM ARGUMENT...: a script that runs a program of the tree it lies in through the tree's own loader,
# as the host's libc may be older. Paths are relative to the script.
launcher() {
  local file=$1 program=$2 up
  up='${0%/*}'$(dirname "/$file" | sed 's#/[^/]\+#/..#g; s#/$##')
  shift 2
  mkdir -p "$(dirname "$file")"
  cat > "$file" <<END
#!/bin/sh
root=$up
exec "\$root/$libs/ld-linux-x86-64.so.2" --argv0 ${file##*/} --library-path "\$root/$libs" "\$root/$program" $* "\$@"
END
  chmod +x "$file"
}

qemu_launcher() {
  launcher qemu usr/bin/qemu-system-x86_64 \
    '-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu"'
}

build_qemu10() {
  suite trixie
  unpack . qemu-system-x86
  qemu_launcher
}

build_qemu11() {
  suite forky
  unpack . qemu-system-x86 ipxe
  qemu_launcher
}

# Debian's QEMU does not serve vfio-user, so this one is built from Debian's source, by Debian's compiler, with little else.
build_qemuserver() {
  local source
  suite trixie
  sed -i '/^deb-src/d; p; s/^deb /deb-src /' "$cache/apt/trixie/sources.list"
  retry apt-get -qq --error-on=any update
  say 'qemuserver: compiler and source'
  unpack . libc6 libglib2.0-0t64 libjson-c5 zlib1g
  unpack gcc gcc libc6-dev make ninja-build meson pkgconf libglib2.0-dev libjson-c-dev libcmocka-dev zlib1g-dev python3 python3-venv \
    python3-pip python3-pycotap bash coreutils sed grep gawk findutils diffutils tar dash perl-base base-files
  ln -sf gawk gcc/usr/bin/awk
  mkdir -p gcc/{dev,tmp,build} && mknod -m 666 gcc/dev/null c 1 3 && mknod -m 666 gcc/dev/urandom c 1 9
  (cd gcc/build && retry apt-get -qq source --download-only qemu)
  "$tools/usr/bin/busybox" xzcat gcc/build/qemu_*.orig.tar.xz | tar -x -C gcc/build
  source=$(cd gcc/build && echo qemu-*/)
  say "qemuserver: ${source%/}, five to ten minutes"
  chroot gcc /usr/bin/env -i PATH=/usr/bin HOME=/tmp /usr/bin/bash -c "cd /build && mkdir out && cd out &&
    ../${source}configure --target-list=x86_64-softmmu --without-default-features --enable-tcg --enable-kvm \\
      --enable-multiprocess --enable-vfio-user-server --disable-docs --disable-install-blobs --disable-download \\
      --disable-werror --cc=gcc --extra-cflags=-Wno-calloc-transposed-args &&
    ninja -j$(nproc) qemu-system-x86_64" >&2
  mkdir -p usr/bin
  strip -o usr/bin/qemu-system-x86_64 gcc/build/out/qemu-system-x86_64
  cp -L gcc/build/out/subprojects/libvfio-user/lib/libvfio-user.so.0 "$libs"
  rm -rf gcc
  launcher qemu usr/bin/qemu-system-x86_64
}

build_tools() {
  local program
  suite trixie
  unpack . iproute2 iputils-ping iperf3 ethtool tcpdump busybox-static kmod cpio
  for program in usr/bin/{ip,ss,ping,iperf3,ethtool,tcpdump,cpio,kmod} usr/sbin/{tc,bridge,ethtool,tcpdump}; do
    [ ! -e "$program" ] || launcher "launch/${program##*/}" "$program"
  done
  for program in depmod modprobe lsmod rmmod modinfo; do launcher "launch/$program" usr/bin/kmod; done
}

# testpmd with the libraries it is linked with, and the driver by which it is a back end of virtio. Its package would bring headers and
# compilers along.
build_dpdk() {
  suite trixie
  dpkg -x "$(alone dpdk-dev)" .
  find usr/bin -type f ! -name dpdk-testpmd -delete
  unpack . librte-mempool-ring25 librte-net-vhost25 $(apt-cache depends dpdk-dev |
    awk '$1 == "Depends:" && $2 ~ /^(lib|zlib)/ && $2 != "libdpdk-dev" { print $2 }')
  launcher launch/dpdk-testpmd usr/bin/dpdk-testpmd \
    "-d \"\$root/$libs/librte_mempool_ring.so.25\" -d \"\$root/$libs/librte_net_vhost.so.25\""
}

# tshark and its family. It looks for dumpcap beside its own program, which is the loader here, and runs what the user has
# installed for extcap in the folder of those of the system.
build_wireshark() {
  local program
  suite trixie
  unpack . tshark
  for program in tshark dumpcap editcap mergecap text2pcap capinfos; do launcher "launch/$program" "usr/bin/$program"; done
  launcher "$libs/dumpcap" usr/bin/dumpcap
  mkdir -p "$libs/extcap/wireshark"
}

# The kernel image and all its modules. Debian builds VFIO without device cdevs, without iommufd and without the
# no-IOMMU mode, so these few modules are built again from Debian's own source package, with Debian's own compiler.
build_kernel() {
  local image version source=linux-source-6.12 modules module
  suite trixie
  image=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }')
  version=${image#linux-image-}
  dpkg -x "$(alone "$image")" .
  echo "$version" > version
  say "kernel: $version; its compiler and source"
  unpack gcc gcc make "linux-headers-$version" bash coreutils sed grep gawk findutils dash perl-base base-files
  ln -sf gawk gcc/usr/bin/awk
  mkdir -p gcc/dev && mknod -m 666 gcc/dev/null c 1 3
  dpkg --fsys-tarfile "$(alone $source)" | tar -xO "./usr/src/$source.tar.xz" | "$tools/usr/bin/busybox" xzcat |
    tar -x "$source"/drivers/{vfio,iommu/iommufd,iommu/iommu-priv.h} $source/lib/interval_tree.c
  mkdir gcc/build
  mv $source/drivers/{vfio,iommu/iommufd,iommu/iommu-priv.h} gcc/build
  # iommufd needs the span iterator of the interval tree, which Debian's kernel leaves out: carry it in the module.
  { printf '#include <linux/%s.h>\n' init interval_tree interval_tree_generic compiler export
    sed -n '/^#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER/,/^#endif/p' $source/lib/interval_tree.c
  } > gcc/build/iommufd/span.c
  sed -i 's/vfio_compat.o/vfio_compat.o span.o/' gcc/build/iommufd/Makefile
  echo 'obj-m += iommufd/ vfio/' > gcc/build/Kbuild
  say 'kernel: VFIO modules'
  local on=(VFIO_NOIOMMU=y VFIO_DEVICE_CDEV=y IOMMUFD=m)
  local off=(IOMMUFD_DRIVER VFIO_MDEV VFIO_PLATFORM_BASE MLX5_VFIO_PCI PDS_VFIO_PCI VIRTIO_VFIO_PCI
    NVGRACE_GPU_VFIO_PCI QAT_VFIO_PCI VFIO_CDX DEBUG_INFO_BTF_MODULES)
  local define='-DCONFIG_VFIO_NOIOMMU=1 -DCONFIG_VFIO_DEVICE_CDEV=1 -DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_INTERVAL_TREE_SPAN_ITER=1'
  chroot gcc /usr/bin/make -s -j"$(nproc)" -C "/usr/src/linux-headers-$version" M=/build \
    "${on[@]/#/CONFIG_}" $(printf 'CONFIG_%s= ' "${off[@]}") KCFLAGS="$define" modules >&2

  modules=usr/lib/modules/$version/kernel/drivers
  for module in vfio/{vfio,vfio_iommu_type1,pci/vfio-pci-core,pci/vfio-pci}.ko iommufd/iommufd.ko; do
    local target=$modules/${module/#iommufd/iommu/iommufd}
    mkdir -p "$(dirname "$target")"
    rm -f "$target.xz"
    strip --strip-debug -o "$target" "gcc/build/$module"
  done
  rm -rf gcc $source
  # What a network lab never loads only makes depmod slow.
  (cd "usr/lib/modules/$version/kernel" && rm -rf sound drivers/{gpu,hid,hwmon,iio,input,media,mmc,scsi,staging,usb,video})
  "$tools/launch/depmod" -b "$PWD/usr" "$version"
}

# The first root file system: busybox, the modules that reach the real one (in loading order), and our init.
build_initramfs() {
  local version count=10 path
  version=$(cat "$kernel/version")
  mkdir -p root/{bin,sbin,dev,proc,sys,modules,host,out,overlay,new}
  cp "$tools/usr/bin/busybox" root/bin
  install -m 755 "$here/init" root/init
  for path in $("$tools/launch/modprobe" -d "$kernel/usr" -S "$version" --show-depends -a virtio_pci virtio-iommu \
    9pnet_virtio 9p overlay | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
    case $path in
      *.xz) "$tools/usr/bin/busybox" xzcat "$path" > "root/modules/$count-$(basename "$path" .xz)" ;;
      *) cp "$path" "root/modules/$count-$(basename "$path")" ;;
    esac
    count=$((count + 1))
  done
  (cd root && find . | "$tools/launch/cpio" -o -H newc --quiet) > initramfs.cpio
  rm -rf root
}

# stage NAME INPUT...: builds a stage unless it is there, and sets the variable NAME to its folder. The inputs (files
# and other stages) are part of the recipe, with the functions that do the work.
stage() {
  local stage=$1 recipe input folder
  recipe=$(declare -f suite unpack alone launcher qemu_launcher "build_$stage")
  for input in "${@:2}"; do
    if [ -f "$input" ]; then recipe+=$(cat "$input"); else recipe+=${input##*/}; fi
  done
  folder=$cache/$stage-$(sha256sum <<< "$recipe" | cut -c1-12)
  [ -d "$folder" ] || locked_build "$stage" "$folder"
  printf -v "$stage" %s "$folder"
  echo "$stage=$folder"
}

locked_build() {
  local stage=$1 folder=$2
  if [ "$locked" = no ]; then
    exec 9> "$cache/lock"
    flock -n 9 || { say "waiting for another setup in $cache"; flock 9; }
    locked=yes
    rm -rf "$cache/apt" # an interrupted run's package lists may be old
  fi
  [ ! -d "$folder" ] || return 0
  say "$stage: building"
  rm -rf "$cache/$stage"-*.part # left by runs that were interrupted: nobody else builds, we have the lock
  mkdir "$folder.part"
  cd "$folder.part"
  "build_$stage"
  cd "$cache"
  mv -T "$folder.part" "$folder"
  rm -rf "$cache/debs/$stage"-*
  say "$stage: done"
}

locked=no
stage tools
stage qemu10
stage kernel "$tools"
stage initramfs "$tools" "$kernel" "$here/init"
for optional in "$@"; do
  case $optional in
    qemu11 | dpdk | wireshark) stage "$optional" ;;
    qemuserver) stage qemuserver "$tools" ;;
  esac
done
[ "$locked" = no ] || rm -rf "$cache/apt"
