/// A table for people: columns as wide as they need to be, two spaces apart; the last one is not padded.
struct TextTable {
    private let columns: [(title: String, isNumber: Bool)]
    private var rows: [[String]] = []

    /// - Parameter columns: titles; one that begins with `>` is of numbers, which stand at the right.
    init(_ columns: String...) {
        self.columns = columns.map { title in
            title.hasPrefix(">") ? (String(title.dropFirst()), true) : (title, false)
        }
    }

    mutating func add(_ cells: String...) {
        precondition(cells.count == columns.count)
        rows.append(cells.map(Self.printable))
    }

    var text: String {
        let lines = [columns.map(\.title)] + rows
        let widths = columns.indices.map { index in lines.map { $0[index].count }.max() ?? 0 }
        return lines.map { line in
            var cells: [String] = []
            for (index, cell) in line.enumerated() {
                let padding = String(repeating: " ", count: widths[index] - cell.count)
                let isLast = index == line.count - 1
                cells.append(columns[index].isNumber ? padding + cell : isLast ? cell : cell + padding)
            }
            return cells.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    /// Names are given by users: what would move a terminal's cursor, or hide text, is shown as a mark.
    static func printable(_ text: String) -> String {
        var shown = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
                shown.append("\u{fffd}")
            default: shown.append(scalar)
            }
        }
        return shown.isEmpty ? "-" : String(shown)
    }
}

/// Sizes as people read them.
enum HumanSize {
    /// Such as `512 B`, `1.5 GiB`: two or three digits that count.
    static func text(_ bytes: Int64) -> String {
        guard bytes >= 1024 else { return "\(bytes) B" }
        var unit: Int64 = 1024
        for name in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            // What would be rounded to 1024 belongs to the next unit.
            if bytes / unit < 1023 || name == "PiB" {
                let tenths = bytes / unit * 10 + bytes % unit * 10 / unit
                return tenths < 100 ? "\(tenths / 10).\(tenths % 10) \(name)" : "\(bytes / unit) \(name)"
            }
            unit *= 1024
        }
        return "\(bytes) B"
    }

    static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
}
