# What a machine is: `key=value` lines, read before anything is touched.
echo "now=$(date +%s.%N)"
echo "kernel=$(uname -r)"
echo "arch=$(uname -m)"
echo "cpus=$(getconf _NPROCESSORS_ONLN)"
echo "memory_kib=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
echo "free_kib=$(df -Pk /var | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\([0-9]*\).*/\1/p')"
echo "swap=$(sed 1d /proc/swaps | wc -l)"
echo "uid=$(id -u)"
echo "systemd=$([ -d /run/systemd/system ] && echo yes || echo no)"
echo "container=$(systemd-detect-virt --container 2>/dev/null || :)"
echo "cgroup=$(stat -fc %T /sys/fs/cgroup)"
echo "apt=$(command -v apt-get || :)"
echo "machine_id=$(cat /etc/machine-id 2>/dev/null)"
echo "ours=$([ -d /var/lib/resilience-harness-machine ] && echo yes || echo no)"
echo "env=$(cat /var/lib/resilience-harness-machine/env 2>/dev/null)"
echo "kubernetes=$([ -e /etc/kubernetes/kubelet.conf ] || [ -e /etc/kubernetes/admin.conf ] && echo yes || echo no)"
echo "addresses=$(hostname -I 2>/dev/null)"
echo "resolvers=$(sed -n 's/^nameserver *//p' /run/systemd/resolve/resolv.conf /etc/resolv.conf 2>/dev/null | grep -v '^127\.' | tr '\n' ' ')"
echo "joined=$(cat /var/lib/resilience-harness-machine/joined 2>/dev/null)"
# Listening ports, from the kernel itself: not every machine has ss.
hex=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | sed -n 's/^ *[0-9]*: [0-9A-F]*:\([0-9A-F]*\) [0-9A-F]*:0000 0A .*/\1/p' | sort -u)
ports=""
for one in $hex; do ports="$ports $((0x$one))"; done
echo "ports=$ports"
for program in containerd runc iptables ipset conntrack ethtool socat mount ip curl; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing="$missing $program"
done
echo "missing=$missing"
