# Completion for holdfast in bash 3.2 and later:
#   source <(holdfast completion bash)
# or put it into /usr/share/bash-completion/completions/holdfast.

_holdfast() {
	local reply
	COMPREPLY=()
	while IFS= read -r reply; do
		COMPREPLY+=("$reply")
	done < <("$1" __complete bash "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
	if [[ ${COMPREPLY[0]} == :files ]]; then
		COMPREPLY=()
		compopt -o default 2>/dev/null
	fi
}

complete -F _holdfast holdfast
