#!/usr/bin/env bash
# Installs what Chronovisor is developed and tested with on Debian 12: Debian packages, and a
# virtual environment in .venv with exactly the versions of requirements.lock. Safe to repeat; it
# does only what is missing. Run as root (Debian packages) in any checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  ca-certificates python3 python3-venv  # the interpreter and its virtual environments
  iproute2 procps util-linux            # namespaces, links; the lab's tools
  linuxptp                              # ptp4l, phc2sys, pmc
  chrony nftables                       # NTP engine, firewall
  ptpd                                  # the other PTP engine; its service is off (START_DAEMON=no)
  dnsmasq-base                          # DHCP and DNS for VMs; not dnsmasq, which is a service
  runc crun                             # containers of worlds (CRX)
  iptables                              # what the bench measures our firewall beside
  curl ethtool tcpdump                  # a VM's questions; what a NIC can do, what a link carries
  binutils gzip xz-utils openssl        # ar and company: what VIBs of other tools are made with
  qemu-system-x86 busybox-static kmod   # guests whose kernel has what this machine's may not
  debootstrap                           # a Debian that boots in one
  gcc libelf1 make                      # the kernel module of tests/hwsim, built for that guest
)

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
    missing+=("$package")
done
if ((${#missing[@]})); then
  echo "setup: installing Debian packages: ${missing[*]}"
  # Installing must not start ptp4l or chronyd: this machine's own clock is none of our business.
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "setup: Debian packages are installed"
fi

wanted=$(cat requirements.lock pyproject.toml | sha256sum)
if [[ ! -x .venv/bin/python || $(cat .venv/installed 2>/dev/null) != "$wanted" ]]; then
  echo "setup: building the virtual environment .venv"
  [[ -x .venv/bin/python ]] || /usr/bin/python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --require-hashes -r requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps --no-build-isolation --editable .
  echo "$wanted" >.venv/installed
else
  echo "setup: virtual environment .venv is up to date"
fi
