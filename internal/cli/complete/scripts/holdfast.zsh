#compdef holdfast
# Completion for holdfast in zsh:
#   source <(holdfast completion zsh)
# or put it into a folder of $fpath as _holdfast.

_holdfast() {
	local -a lines found
	local line word
	lines=("${(@f)$("${words[1]}" __complete zsh "${(@Q)words[1,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
	if [[ ${lines[1]} == :files ]]; then
		_files
		return
	fi
	for line in $lines; do
		word=${line%%$'\t'*}
		line=${line#$word}
		found+=("${word//:/\\:}:${line#$'\t'}")
	done
	(( $#found )) && _describe -V holdfast found
}

# In a folder of $fpath this file is the function itself.
if [[ $funcstack[1] == _holdfast ]]; then
	_holdfast "$@"
else
	compdef _holdfast holdfast
fi
