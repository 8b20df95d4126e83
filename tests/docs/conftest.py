"""What the pages take for granted is a project of its own, whose tests run where the pages say so."""

collect_ignore = ["project"]
