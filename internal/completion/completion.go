// Package completion makes the scripts with which shells complete a command line, from its kong model. The scripts know
// commands, flags and the values of enumerations, complete files elsewhere, and never run the program.
package completion

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"kalamflight/internal/fault"
)

// Shells are those that there are scripts for.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

// Script is the script for a shell.
func Script(shell string, model *kong.Application) (string, error) {
	commands := commandsOf(model)
	switch shell {
	case "bash":
		return bash(model.Name, commands), nil
	case "zsh":
		return "#compdef " + model.Name + "\nautoload -U +X bashcompinit && bashcompinit\n" + bash(model.Name, commands), nil
	case "fish":
		return fish(model.Name, commands), nil
	}
	return "", (&fault.SQL{Kind: fault.ErrInvalid, Message: fmt.Sprintf("there is no completion for %q", shell)}).
		WithHint("there is one for %s", strings.Join(Shells(), ", "))
}

// command is one command: its words, "" for the program itself, and what may follow them.
type command struct {
	path, help string
	flags      []flag
	// words are commands and values that may follow.
	words []string
}

// flag is a flag with its values; files says that it takes one without a list.
type flag struct {
	name, help string
	short      rune
	values     []string
	takes      bool
}

func commandsOf(model *kong.Application) []command {
	var all []command
	var walk func(node *kong.Node, path []string)
	walk = func(node *kong.Node, path []string) {
		c := command{path: strings.Join(path, " "), help: node.Help}
		for _, group := range node.AllFlags(true) {
			for _, f := range group {
				c.flags = append(c.flags, flagOf(f))
			}
		}
		slices.SortFunc(c.flags, func(a, b flag) int { return strings.Compare(a.name, b.name) })
		for _, p := range node.Positional {
			c.words = append(c.words, enumOf(p)...)
		}
		for _, child := range node.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				c.words = append(c.words, child.Name)
			}
		}
		all = append(all, c)
		for _, child := range node.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				walk(child, append(slices.Clone(path), child.Name))
			}
		}
	}
	walk(model.Node, nil)
	return all
}

func flagOf(f *kong.Flag) flag {
	return flag{name: f.Name, help: f.Help, short: f.Short, values: enumOf(f.Value), takes: !f.IsBool() && !f.IsCounter()}
}

func enumOf(v *kong.Value) []string {
	if v.Enum == "" {
		return nil
	}
	return slices.DeleteFunc(strings.Split(v.Enum, ","), func(s string) bool { return s == "" })
}

// bash has a table of words for each command and of values for each flag. The command is what was typed of words that
// are commands, as far as it goes.
func bash(name string, commands []command) string {
	var b strings.Builder
	function := "_" + strings.ReplaceAll(name, "-", "_")
	fmt.Fprintf(&b, "%s() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev= path= word i\n"+
		"\t((COMP_CWORD > 0)) && prev=${COMP_WORDS[COMP_CWORD - 1]}\n"+
		"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tword=${COMP_WORDS[i]}\n"+
		"\t\tcase \"$path${path:+ }$word\" in\n\t\t%s) path=$path${path:+ }$word ;;\n\t\tesac\n\tdone\n",
		function, paths(commands))
	b.WriteString("\tcase \"$path:$prev\" in\n")
	for _, c := range commands {
		var files []string
		for _, f := range c.flags {
			switch {
			case len(f.values) > 0:
				fmt.Fprintf(&b, "\t%q:--%s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", c.path, f.name,
					strings.Join(f.values, " "))
			case f.takes:
				files = append(files, fmt.Sprintf("%q:--%s", c.path, f.name))
			}
		}
		if len(files) > 0 {
			fmt.Fprintf(&b, "\t%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", strings.Join(files, " | "))
		}
	}
	b.WriteString("\tesac\n\tcase $path in\n")
	for _, c := range commands {
		words := slices.Clone(c.words)
		for _, f := range c.flags {
			words = append(words, "--"+f.name)
		}
		fmt.Fprintf(&b, "\t%q) COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", c.path, strings.Join(words, " "))
	}
	fmt.Fprintf(&b, "\tesac\n}\ncomplete -o bashdefault -o default -F %s %s\n", function, name)
	return b.String()
}

// paths are the commands as a pattern of case.
func paths(commands []command) string {
	var all []string
	for _, c := range commands {
		if c.path != "" {
			all = append(all, fmt.Sprintf("%q", c.path))
		}
	}
	return strings.Join(all, " | ")
}

func fish(name string, commands []command) string {
	var b strings.Builder
	for _, c := range commands {
		condition := "__fish_use_subcommand"
		if c.path != "" {
			var parts []string
			for word := range strings.SplitSeq(c.path, " ") {
				parts = append(parts, "__fish_seen_subcommand_from "+word)
			}
			condition = strings.Join(parts, "; and ")
		}
		for _, w := range c.words {
			fmt.Fprintf(&b, "complete -c %s -f -n %s -a %s -d %s\n", name, fishQuote(condition), fishQuote(w),
				fishQuote(helpOf(commands, strings.TrimSpace(c.path+" "+w))))
		}
		for _, f := range c.flags {
			line := fmt.Sprintf("complete -c %s -n %s -l %s", name, fishQuote(condition), f.name)
			if f.short != 0 {
				line += " -s " + string(f.short)
			}
			if f.takes {
				line += " -r"
			}
			if len(f.values) > 0 {
				line += " -f -a " + fishQuote(strings.Join(f.values, " "))
			}
			b.WriteString(line + " -d " + fishQuote(f.help) + "\n")
		}
	}
	return b.String()
}

func helpOf(commands []command, path string) string {
	for _, c := range commands {
		if c.path == path {
			return c.help
		}
	}
	return ""
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", " ").Replace(s) + "'"
}
