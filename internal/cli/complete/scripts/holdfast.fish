# Completion for holdfast in fish:
#   holdfast completion fish | source
# or put it into ~/.config/fish/completions/holdfast.fish.

function __holdfast_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (command $before[1] __complete fish $before "$current" 2>/dev/null)
    if test "$lines[1]" = :files
        __fish_complete_path "$current"
        return
    end
    printf '%s\n' $lines
end

complete -c holdfast -f -a '(__holdfast_complete)'
