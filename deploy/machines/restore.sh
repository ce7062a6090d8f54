# Put a machine back to where it was before prepare.sh: stop Kubernetes, remove what it made, give back what was kept.
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive
state=/var/lib/resilience-harness-machine
[ -d "$state" ] || exit 0
failed=0
try() { "$@" || { echo "failed: $*" >&2; failed=1; }; }

if [ -x /usr/bin/kubeadm ] && grep -qxF /usr/bin/kubeadm "$state/files" 2>/dev/null; then
  timeout 120 kubeadm reset -f --cleanup-tmp-dir >/dev/null 2>"$state/reset.log" || tail -3 "$state/reset.log" >&2
fi
systemctl stop kubelet 2>/dev/null
systemctl stop containerd 2>/dev/null
# What kubeadm could not stop (no API, no network plugin any more) ends here, by the path of its own shim.
for pid in $(pgrep -f 'containerd-shim-runc-v2 -namespace k8s.io'); do
  pkill -KILL -P "$pid"; kill -KILL "$pid"
done 2>/dev/null
sed -n 's#^[^ ]* \(/run/containerd/[^ ]*\|/var/lib/kubelet[^ ]*\|/run/netns/cni-[^ ]*\|/var/run/netns/cni-[^ ]*\) .*#\1#p' /proc/mounts | sort -r | while read -r one; do umount -l "$one"; done
rm -rf /run/netns/cni-* /var/run/netns/cni-*
for link in $(ip -o link | sed -n 's/^[0-9]*: \(cali[0-9a-f]*\|vxlan.calico\|nodelocaldns\|kube-ipvs0\)[@:].*/\1/p'); do ip link del "$link" 2>/dev/null; done
ip route show proto 80 2>/dev/null | while read -r route; do ip route del $route 2>/dev/null; done
for tables in iptables-nft iptables-legacy ip6tables-nft ip6tables-legacy; do
  command -v "$tables-save" >/dev/null || continue
  "$tables-save" 2>/dev/null > "$state/rules"
  grep -qE 'KUBE-|cali|CNI-' "$state/rules" || continue
  grep -vE 'KUBE-|cali|CNI-' "$state/rules" | "$tables-restore" || failed=1
done
if command -v nft >/dev/null; then
  for table in kube-proxy calico; do
    for family in ip ip6 inet; do nft delete table $family $table 2>/dev/null; done
  done
fi
command -v ipset >/dev/null && for set in $(ipset list -n 2>/dev/null | grep '^cali'); do ipset destroy "$set" 2>/dev/null; done

rm -rf /etc/cni/net.d/10-calico.conflist /etc/cni/net.d/calico-kubeconfig /etc/kubernetes/* /var/lib/etcd/* /run/calico /var/run/calico /run/flannel
rm -f /usr/local/bin/rh-nodetool-* /etc/rh-resume /etc/systemd/system/rh-resume.service /etc/systemd/system/multi-user.target.wants/rh-resume.service
[ -e "$state/containerd-used" ] || rm -rf /var/lib/containerd/* /run/containerd/*
if [ -d "$state/backup-cni" ]; then rm -rf /opt/cni && try cp -a "$state/backup-cni" /opt/cni; fi

if [ -e "$state/files" ]; then
  while read -r file; do
    rm -f "$file"
    if [ -e "$state/backup$file" ]; then try cp -a "$state/backup$file" "$file"; fi
    rmdir -p --ignore-fail-on-non-empty "${file%/*}" 2>/dev/null
  done < "$state/files"
fi
while read -r path; do try rm -rf "$path"; done < "$state/absent"
while read -r pair; do try sysctl -q -w "$pair"; done < "$state/sysctls"
if [ -e "$state/swaps" ]; then while read -r swap; do try swapon "$swap"; done < "$state/swaps"; fi
if command -v apt-get >/dev/null; then
  dpkg-query -W -f '${Package}\n' 2>/dev/null | sort > "$state/packages.now"
  new=$(comm -13 "$state/packages" "$state/packages.now")
  # shellcheck disable=SC2086
  [ -z "$new" ] || try apt-get purge -y -q $new >/dev/null
fi
systemctl daemon-reload
while read -r unit enabled active; do
  systemctl cat "$unit" >/dev/null 2>&1 || { systemctl reset-failed "$unit" 2>/dev/null; rm -f "/etc/systemd/system/multi-user.target.wants/$unit.service"; continue; }
  [ "$enabled" = enabled ] || systemctl -q disable "$unit" 2>/dev/null
  [ "$active" != active ] || try systemctl start "$unit"
done < "$state/units"
[ "$failed" = 0 ] && rm -rf "$state"
exit "$failed"
