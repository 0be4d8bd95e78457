import CKernels

/// Where the panels of a task lie: one after the other, each its codes and then its scales.
struct PanelLayout {
  /// Bytes of decoded weights that a task works on at once: they should stay in the second-level cache.
  private static let taskBytes = 192 * 1024
  static let mostPanels = 4

  /// Number of panels of so many columns.
  static func count(_ columns: Int) -> Int { (columns + MatrixProduct.width - 1) / MatrixProduct.width }

  let codeByteCount: Int
  let byteCount: Int
  /// Bounded by cache, and few enough that all threads find work.
  let panelsPerTask: Int

  init(reduction: Int, block: Int, panels: Int) {
    codeByteCount = Scratch.aligned(KernelTables.int8.pointee.panel_code_bytes(reduction))
    byteCount = codeByteCount + Scratch.aligned((reduction + block - 1) / block * MatrixProduct.width * 4)
    panelsPerTask = max(1, min(Self.mostPanels, Self.taskBytes / byteCount, (panels + 7) / 8))
  }

  /// Bytes of the panels of a task.
  var taskByteCount: Int { byteCount * panelsPerTask }

  /// Upper bound of `taskByteCount` for this reduction or a shorter one, and any number of panels.
  var largestTaskByteCount: Int {
    max(byteCount, min(Self.taskBytes, Self.mostPanels * byteCount))
  }

  func panel(_ index: Int, at base: UnsafeMutableRawPointer) -> el_panel {
    let codes = base + index * byteCount
    return el_panel(codes: codes, scales: (codes + codeByteCount).assumingMemoryBound(to: Float.self))
  }

  /// Tokens pass over a task's panels, `rows` of them at a time.
  ///
  /// - Parameters:
  ///   - range: the panels, of which the first stands at `base`
  ///   - upcoming: is asked for along with them
  @inline(__always) func forEachTile(
    _ range: Range<Int>, at base: UnsafeMutableRawPointer, tokens: Range<Int>, rows: Int,
    fetching upcoming: UpcomingWeights?,
    _ body: (_ tile: Range<Int>, _ index: Int, _ panel: inout el_panel) -> Void
  ) {
    var upcoming = upcoming
    for start in stride(from: tokens.lowerBound, to: tokens.upperBound, by: rows) {
      let tile = start..<min(start + rows, tokens.upperBound)
      for index in range {
        upcoming?.fetchSome()
        var panel = panel(index - range.lowerBound, at: base)
        body(tile, index, &panel)
      }
    }
  }
}

/// How the panels of a product are shared out: several at a time, and of the last product of a loop the last ones one by
/// one and in parts of the rows, so that all threads end at about the same time. Nothing is summed across tasks.
struct PanelDivision {
  /// Most parts that the rows are split into where a loop ends; each begins at a multiple of `partRows`.
  private static let mostRowParts = 4
  private static let partRows = 64

  private let panelsPerTask: Int
  private let threadCount: Int
  private let largeTasks: Int
  private let rows: Int
  /// Rows of the last panels' tasks, a multiple of `partRows`.
  private let rowsPerTask: Int
  private let rowParts: Int
  /// Number of tasks.
  let count: Int

  init(panels: Int, panelsPerTask: Int, rows: Int, threadCount: Int, isLast: Bool = true) {
    self.panelsPerTask = panelsPerTask
    self.threadCount = threadCount
    self.rows = rows
    largeTasks = max(0, panels - (isLast ? threadCount : 0)) / panelsPerTask
    // Every part decodes its panel again, which pays where many rows pass over it.
    let parts =
      threadCount == 1 || !isLast ? 1 : max(1, min(rows / (4 * Self.partRows), Self.mostRowParts))
    let unit = parts * Self.partRows
    rowsPerTask = (rows + unit - 1) / unit * Self.partRows
    rowParts = (rows + rowsPerTask - 1) / rowsPerTask
    count = largeTasks + (panels - largeTasks * panelsPerTask) * rowParts
  }

  /// The task that the thread which takes this one will take next, if all take the same time.
  func task(after task: Int) -> (panels: Range<Int>, rows: Range<Int>)? {
    task + threadCount < count ? part(task + threadCount) : nil
  }

  /// Panels and rows of a task.
  func part(_ task: Int) -> (panels: Range<Int>, rows: Range<Int>) {
    if task < largeTasks { return (task * panelsPerTask..<(task + 1) * panelsPerTask, 0..<rows) }
    let panel = largeTasks * panelsPerTask + (task - largeTasks) / rowParts
    let first = (task - largeTasks) % rowParts * rowsPerTask
    return (panel..<panel + 1, first..<min(first + rowsPerTask, rows))
  }
}

/// Weights that a thread probably decodes next. Memory is idle while products keep it busy, so a few rows are asked for
/// with every tile.
struct UpcomingWeights {
  private var address: UnsafeRawPointer
  private var rowsLeft: Int
  private let rowByteCount: Int
  /// Distance between rows, in bytes.
  private let stride: Int
  private let rowsPerStep: Int

  /// - Parameter steps: how often `fetchSome` is called
  init(_ weight: StoredMatrix, rows: Range<Int>, columns: Range<Int>, steps: Int) {
    let bits = weight.elementBits
    address = weight.native.data + (rows.lowerBound * weight.columns + columns.lowerBound) * bits / 8
    rowsLeft = min(rows.upperBound, weight.rows) - rows.lowerBound
    rowByteCount = columns.count * bits / 8
    stride = weight.columns * bits / 8
    rowsPerStep = (rows.count + steps - 1) / steps
  }

  mutating func fetchSome() {
    let count = min(rowsPerStep, rowsLeft)
    for _ in 0..<count {
      el_prefetch(address, rowByteCount)
      address += stride
    }
    rowsLeft -= count
  }
}
