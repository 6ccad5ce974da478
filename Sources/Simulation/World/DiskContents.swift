import Glibc
import Synchronization

/// An array cut into pieces, so that changing one element of a copy copies one piece and the list of
/// pieces, not the whole: a snapshot is taken at every call of a simulated disk.
struct ChunkedArray<Element>: Sequence {
    private static var shift: Int { 6 }
    private static var mask: Int { 63 }

    private var chunks: [[Element]] = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    subscript(_ index: Int) -> Element {
        get { chunks[index >> Self.shift][index & Self.mask] }
        _modify { yield &chunks[index >> Self.shift][index & Self.mask] }
    }

    mutating func append(_ element: Element) {
        if count & Self.mask == 0 {
            chunks.append([element])
        } else {
            chunks[chunks.count - 1].append(element)
        }
        count += 1
    }

    mutating func removeLast(downTo newCount: Int) {
        guard newCount < count else { return }
        let kept = (newCount + Self.mask) >> Self.shift
        chunks.removeLast(chunks.count - kept)
        if newCount & Self.mask != 0 {
            chunks[kept - 1].removeLast(chunks[kept - 1].count - newCount & Self.mask)
        }
        count = newCount
    }

    func makeIterator() -> FlattenSequence<[[Element]]>.Iterator { chunks.joined().makeIterator() }
}

extension ChunkedArray: Sendable where Element: Sendable {}

/// Bytes in one piece: a page of a file, or what one call wrote.
///
/// Written only by who holds its only reference, so that many may read it, in any thread.
final class Block: @unchecked Sendable {
    static let pageBytes = 4096
    static let zeroPageHash = zeroPage().contentHash

    let sizeBytes: Int
    let start: UnsafeMutableRawPointer
    /// The hash of the bytes once it was asked for; 0: not known. Threads that ask at once all write
    /// the same value.
    private let hash = Atomic<UInt64>(0)

    /// What is in it is arbitrary until it is written.
    init(sizeBytes: Int) {
        self.sizeBytes = sizeBytes
        start = .allocate(byteCount: max(1, sizeBytes), alignment: 16)
    }

    deinit { start.deallocate() }

    static func zeroPage() -> Block {
        let block = Block(sizeBytes: pageBytes)
        memset(block.start, 0, pageBytes)
        return block
    }

    convenience init(copying bytes: UnsafeRawBufferPointer) {
        self.init(sizeBytes: bytes.count)
        if let base = bytes.baseAddress { memcpy(start, base, bytes.count) }
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: sizeBytes) }

    var contentHash: UInt64 {
        let known = hash.load(ordering: .relaxed)
        if known != 0 { return known }
        let new = Hash64.of(bytes) | 1
        hash.store(new, ordering: .relaxed)
        return new
    }

    /// To be said before each change.
    func forgetHash() { hash.store(0, ordering: .relaxed) }
}

/// Some pages of a file that stand one after the other, with the hash of them all once it was asked for.
final class PageGroup: @unchecked Sendable {
    static let pageCount = 64

    /// Nil: a page nobody wrote.
    var pages: [Block?]
    private let hash = Atomic<UInt64>(0)

    init(_ pages: [Block?]) { self.pages = pages }

    static func empty() -> PageGroup { PageGroup([Block?](repeating: nil, count: pageCount)) }

    var contentHash: UInt64 {
        let known = hash.load(ordering: .relaxed)
        if known != 0 { return known }
        var new: UInt64 = 0
        for page in pages { new = Hash64.combine(new, page?.contentHash ?? Block.zeroPageHash) }
        hash.store(new | 1, ordering: .relaxed)
        return new | 1
    }

    /// To be said before each change.
    func forgetHash() { hash.store(0, ordering: .relaxed) }
}

/// What is in a file. A page nobody wrote is not there and reads as zeros; what a page holds beyond the
/// file's end is zero.
struct Contents: Sendable {
    private(set) var sizeBytes = 0
    /// How many pages are there, holes not counted.
    private(set) var pageCount = 0
    private var groups: [PageGroup] = []

    private static let emptyGroupHash = PageGroup.empty().contentHash

    private func page(_ number: Int) -> Block? {
        let (group, place) = number.quotientAndRemainder(dividingBy: PageGroup.pageCount)
        return group < groups.count ? groups[group].pages[place] : nil
    }

    /// - Precondition: the group is there.
    private mutating func changePage<R>(_ number: Int, _ body: (inout Block?) -> R) -> R {
        let (group, place) = number.quotientAndRemainder(dividingBy: PageGroup.pageCount)
        if !isKnownUniquelyReferenced(&groups[group]) { groups[group] = PageGroup(groups[group].pages) }
        groups[group].forgetHash()
        return body(&groups[group].pages[place])
    }

    func read(into space: UnsafeMutableRawBufferPointer, offset: Int) -> Int {
        let count = min(space.count, max(0, sizeBytes - offset))
        guard count > 0, let base = space.baseAddress else { return 0 }
        var done = 0
        while done < count {
            let (page, start) = (offset &+ done).quotientAndRemainder(dividingBy: Block.pageBytes)
            let step = min(Block.pageBytes &- start, count &- done)
            if let block = self.page(page) {
                memcpy(base + done, block.start + start, step)
            } else {
                memset(base + done, 0, step)
            }
            done &+= step
        }
        return count
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer, offset: Int) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        var done = 0
        while done < bytes.count {
            let (page, start) = (offset &+ done).quotientAndRemainder(dividingBy: Block.pageBytes)
            let step = min(Block.pageBytes &- start, bytes.count &- done)
            memcpy(writablePage(page, isOverwritten: step == Block.pageBytes) + start, base + done, step)
            done &+= step
        }
        sizeBytes = max(sizeBytes, offset + bytes.count)
    }

    /// - Parameter isOverwritten: the whole page is going to be written, what is in it does not matter.
    private mutating func writablePage(_ number: Int, isOverwritten: Bool) -> UnsafeMutableRawPointer {
        while groups.count <= number / PageGroup.pageCount { groups.append(.empty()) }
        var isNew = false
        let start = changePage(number) { page in
            if isKnownUniquelyReferenced(&page), let block = page {
                block.forgetHash()
                return block.start
            }
            isNew = page == nil
            let fresh: Block
            if isOverwritten {
                fresh = Block(sizeBytes: Block.pageBytes)
            } else {
                fresh = page.map { Block(copying: $0.bytes) } ?? Block.zeroPage()
            }
            page = fresh
            return fresh.start
        }
        if isNew { pageCount += 1 }
        return start
    }

    /// Sets the size without writing: what is cut off is gone, what is added reads as zeros.
    mutating func resize(_ newSize: Int) {
        if newSize < sizeBytes {
            let kept = (newSize + Block.pageBytes - 1) / Block.pageBytes
            let keptGroups = (kept + PageGroup.pageCount - 1) / PageGroup.pageCount
            for number in kept..<max(kept, groups.count * PageGroup.pageCount) where page(number) != nil {
                pageCount -= 1
                if number / PageGroup.pageCount < keptGroups { changePage(number) { $0 = nil } }
            }
            groups.removeLast(max(0, groups.count - keptGroups))
            let (last, start) = newSize.quotientAndRemainder(dividingBy: Block.pageBytes)
            if start > 0, page(last) != nil {
                memset(writablePage(last, isOverwritten: false) + start, 0, Block.pageBytes - start)
            }
        }
        sizeBytes = newSize
    }

    /// How many pages a write there would add.
    func missingPages(offset: Int, count: Int) -> Int {
        guard count > 0 else { return 0 }
        var missing = 0
        for number in offset / Block.pageBytes...(offset + count - 1) / Block.pageBytes where page(number) == nil {
            missing += 1
        }
        return missing
    }

    /// Equal contents have equal hashes, whether zeros were written or are a hole.
    var hash: UInt64 {
        var hash = UInt64(sizeBytes)
        for group in groups { hash = Hash64.combine(hash, group.contentHash) }
        let groupBytes = PageGroup.pageCount * Block.pageBytes
        for _ in groups.count..<max(groups.count, (sizeBytes + groupBytes - 1) / groupBytes) {
            hash = Hash64.combine(hash, Self.emptyGroupHash)
        }
        return hash
    }
}
