/// A page that needs nothing from outside: a browser that opens it makes no request.
struct Page {
  let title: String
  let subtitle: String
  /// What the page may load and run, whatever the texts in it say.
  let policy: String
  /// The command that made it.
  let generator: String
  /// Follows the titles; HTML, as all below.
  var top = ""
  let content: String
  let footer: String
  var scripts = ""

  /// The element that names the command.
  static func generator(_ command: String) -> String { "<meta name=\"generator\" content=\"\(command)\">" }

  var html: String {
    """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta http-equiv="Content-Security-Policy" content="\(policy)">
    <meta name="color-scheme" content="light dark">
    \(Self.generator(generator))
    <link rel="icon" href="data:,">
    <title>\(HTMLText.escaped(title))</title>
    <style>
    \(ReportStyle.sheet)
    </style>
    </head>
    <body>
    <header>
    <h1>\(HTMLText.escaped(title))</h1>
    <p class="soft">\(HTMLText.escaped(subtitle))</p>
    \(top)</header>
    <main>
    \(content)</main>
    <footer>\(footer)</footer>
    \(scripts)</body>
    </html>

    """
  }
}
