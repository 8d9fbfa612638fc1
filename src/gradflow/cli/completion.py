"""Completion of commands, studies, keys and their values by the shell.

bash: eval "$(gradflow completion)"      in ~/.bashrc
zsh: autoload bashcompinit && bashcompinit && eval "$(gradflow completion)"      in ~/.zshrc

Keys and values are Hydra's own, which takes a second or two each time.
"""

from string import Template

from gradflow.cli import COMMANDS

SCRIPT = Template("""\
_gradflow() {
    local command="${COMP_WORDS[1]}" word="${COMP_LINE##* }" choices=""
    local keys="gradflow${COMP_LINE#*"$command"}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        choices="$commands"
    else
        case "$command" in
            study|sweep) command=train ;;
        esac
        case "$command" in
            $hydra)
                choices=$(COMP_LINE="$keys" gradflow "$command" -sc query=bash 2> /dev/null) ;;
        esac
        if [ "${COMP_WORDS[1]}" = study ] && [ "$COMP_CWORD" -eq 2 ]; then
            choices=$(gradflow study | cut -d ' ' -f 1)
        fi
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$word" | grep -v schema_))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _gradflow gradflow
""")


def main() -> None:
    """Print the function that bash calls."""
    hydra = [name for name, command in COMMANDS.items() if command.keys]
    print(
        SCRIPT.safe_substitute(commands=" ".join(COMMANDS), hydra="|".join(hydra)),
        end="",
    )
