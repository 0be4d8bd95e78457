import CKernels

/// Tokens times one panel, with what joins it in floats: within the product where the kernels have registers for that,
/// and before it elsewhere.
struct PanelProduct {
  let x: UncheckedPointer<el_rows>
  let rows: Range<Int>
  /// First element of the reduction, and their number.
  let first: Int
  let reduction: Int
  let y: Matrix
  let columns: Range<Int>
  let accumulate: Bool
  /// Joins the columns of `y` that it stands for.
  let term: LowRankTerm?

  private var goesAlong: Bool { KernelTables.int8.pointee.gemm_adding != nil && term?.mask == nil }

  private func target(_ row: Int) -> UnsafeMutablePointer<Float> { y.base + row * y.stride + columns.lowerBound }

  /// The whole product, with the term.
  func run(_ panel: inout el_panel) {
    if term != nil && goesAlong {
      multiply(rows, nil, &panel)
    } else {
      term?.add(rows: rows, columns: columns, to: y.rows(rows).columns(columns), accumulate: accumulate)
      multiply(rows, &panel, accumulate: accumulate || term != nil)
    }
  }

  /// Adds what stays float for some of the rows, and perhaps multiplies them; `finish` follows.
  func add(_ exact: el_term, rows: Range<Int>, _ panel: inout el_panel) {
    if goesAlong {
      multiply(rows, exact, &panel)
    } else {
      KernelTables.float.pointee.gemm(
        rows.count, columns.count, exact.count, 1, exact.x, exact.ldx, 1, exact.w, exact.ldw, accumulate ? 1 : 0,
        target(rows.lowerBound), y.stride)
    }
  }

  /// What is left when all rows had their `add`.
  func finish(_ panel: inout el_panel) {
    if goesAlong { return }
    term?.add(rows: rows, columns: columns, to: y.rows(rows).columns(columns), accumulate: true)
    multiply(rows, &panel, accumulate: true)
  }

  private func multiply(_ rows: Range<Int>, _ panel: inout el_panel, accumulate: Bool) {
    KernelTables.int8.pointee.gemm(
      x.pointer, rows.lowerBound, rows.count, first, reduction, &panel, target(rows.lowerBound), y.stride,
      columns.count, accumulate ? 1 : 0)
  }

  private func multiply(_ rows: Range<Int>, _ exact: el_term?, _ panel: inout el_panel) {
    var terms = (exact ?? el_term(), el_term())
    var count = exact == nil ? 0 : 1
    if let term {
      let native = el_term(
        count: term.w.rows, scale: term.scale, x: term.p.base + rows.lowerBound * term.p.stride, ldx: term.p.stride,
        w: term.w.base + columns.lowerBound, ldw: term.w.stride)
      if exact == nil { terms.0 = native } else { terms.1 = native }
      count += 1
    }
    withUnsafePointer(to: &terms) { terms in
      KernelTables.int8.pointee.gemm_adding(
        x.pointer, rows.lowerBound, rows.count, first, reduction, &panel, target(rows.lowerBound), y.stride,
        columns.count, accumulate ? 1 : 0, UnsafeRawPointer(terms).assumingMemoryBound(to: el_term.self), count)
    }
  }
}

/// A pointer that a parallel loop may read: what it points to outlives the loop and does not change.
struct UncheckedPointer<T>: @unchecked Sendable {
  let pointer: UnsafePointer<T>
  init(_ pointer: UnsafePointer<T>) { self.pointer = pointer }
  var pointee: T { @inline(__always) get { pointer.pointee } }
}
