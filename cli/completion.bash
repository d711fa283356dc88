# bash completion for hvctl
#
# Commands and options come from hvctl itself, names of domains from the daemon.
# The commands, for whoever reads this file:
#   version capabilities metrics run define create undefine dumpconfig start
#   shutdown reboot reset destroy suspend resume snapshot restore snapshot-list
#   snapshot-delete migrate migrate-plan migrate-set migrate-resolve upgrade nmi
#   list info stats top wait console
#   memslot list, memslot set, memslot delete, memory read, memory write,
#   memory working-set, memory discard, memory pageout, dirtylog start,
#   dirtylog stop, dirtylog read, dirtylog clear, dirtyrate, mmu roots,
#   mmu invalidate, mmu set, mmu stats,
#   vcpu list, vcpu registers, vcpu set-registers, vcpu exits, host cpus,
#   host cpu-online, host cpu-offline, job list, job info, job abort, job wait,
#   events call shell proxy

_hvctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local i words=() global=() line command="" options="" next=""
	COMPREPLY=()

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --connect) ((i++)); global=(-c "${COMP_WORDS[i]}") ;;
		-*) ;;
		*) words+=("${COMP_WORDS[i]}") ;;
		esac
	done
	case $prev in
	--directory) COMPREPLY=($(compgen -d -- "$cur")); return ;;
	--kernel | --initrd | --config | --bitmap) COMPREPLY=($(compgen -f -- "$cur")); return ;;
	--vendor) COMPREPLY=($(compgen -W "vmx svm auto" -- "$cur")); return ;;
	--paging) COMPREPLY=($(compgen -W "tdp shadow" -- "$cur")); return ;;
	--apicv) COMPREPLY=($(compgen -W "true false" -- "$cur")); return ;;
	--compress) COMPREPLY=($(compgen -W "1 3 9 19" -- "$cur")); return ;;
	-c | --connect) COMPREPLY=($(compgen -W "unix: ssh://" -- "$cur")); return ;;
	esac
	while IFS=: read -r line options; do
		if [[ "${words[*]:0:2}" == "$line" || "${words[0]-}" == "$line" ]]; then
			command=$line
			break
		fi
	done < <(hvctl --list-options 2>/dev/null)
	if [[ -z $command ]]; then
		next=$(hvctl --list-commands 2>/dev/null | while read -r -a line; do
			[[ ${#words[@]} == 0 ]] && echo "${line[0]}"
			[[ ${#words[@]} == 1 && ${line[0]} == "${words[0]}" ]] && echo "${line[1]-}"
		done | sort -u)
		[[ ${#words[@]} == 0 && $cur == -* ]] && next="-c --connect -j --json -h --help -V --version"
		COMPREPLY=($(compgen -W "$next" -- "$cur"))
		return
	fi
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(tr ' ' '\n' <<<"$options" | grep '^--') --json --help" -- "$cur"))
	elif [[ $command == define || $command == create ]]; then
		COMPREPLY=($(compgen -f -- "$cur"))
	elif [[ $command == wait && ${#words[@]} == 2 ]]; then
		COMPREPLY=($(compgen -W "running paused shutoff crashed" -- "$cur"))
	elif [[ $command == migrate || $command == migrate-plan ]] && ((${#words[@]} == 2)); then
		COMPREPLY=($(compgen -W "unix: tcp: ssh://" -- "$cur"))
	elif [[ $options == *DOMAIN* && ${#words[@]} == $(wc -w <<<"$command") ]]; then
		COMPREPLY=($(compgen -W "$(hvctl "${global[@]}" --json list --all 2>/dev/null |
			sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p')" -- "$cur"))
	fi
}
complete -F _hvctl hvctl
